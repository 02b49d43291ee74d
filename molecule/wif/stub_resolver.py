"""A stub resolver that hands every question on, as systemd-resolved does at 127.0.0.53."""

from __future__ import annotations

import socket
import socketserver
import sys
import threading

OWN, RESOLVER = sys.argv[1:]


class OverUdp(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        question, listener = self.request
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
            asked.settimeout(5)
            asked.connect((RESOLVER, 53))
            asked.send(question)
            listener.sendto(asked.recv(65535), self.client_address)


class OverTcp(socketserver.StreamRequestHandler):
    timeout = 5

    def handle(self) -> None:
        while length := self.rfile.read(2):
            with socket.create_connection((RESOLVER, 53), timeout=5) as asked:
                asked.sendall(length + self.rfile.read(int.from_bytes(length, "big")))
                answers = asked.makefile("rb")
                size = answers.read(2)
                self.wfile.write(size + answers.read(int.from_bytes(size, "big")))


class Tcp(socketserver.ThreadingTCPServer):
    allow_reuse_address = True


def main() -> None:
    tcp = Tcp((OWN, 53), OverTcp)
    threading.Thread(target=tcp.serve_forever, daemon=True).start()
    socketserver.ThreadingUDPServer((OWN, 53), OverUdp).serve_forever()


if __name__ == "__main__":
    main()
