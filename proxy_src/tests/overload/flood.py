"""Floods, made in a process of their own, so that the measured clients do not wait for them.

    flood.py upstream NAME             serve; prints the port
    flood.py client NAME PORT CA ROUTE flood the proxy at PORT
    flood.py bulk                      serve answers without end to many clients; prints the port

Cheap on purpose: the bytes to send are made once, and answers are dropped unread where possible.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import resource
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "src"))
sys.path.insert(0, str(Path(__file__).parents[1]))

from clients import UPGRADE, Client
from running import DOMAIN
from tunnelled import get

_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
UPSTREAM = {  # the start of an answer, and the bytes that follow without end
    "interim": (b"", b"HTTP/1.1 103 x\r\n\r\n"),
    "interim in good measure": (
        b"",
        b"HTTP/1.1 103 x\r\n\r\n" * 900 + b"HTTP/1.1 200 x\r\nContent-Length: 0\r\n\r\n",
    ),
    "large interim": (b"", b"HTTP/1.1 103 x\r\na: " + b"y" * 60_000 + b"\r\n\r\n"),
    "fields": (b"HTTP/1.1 200 OK\r\n", b"a:\r\n"),
    "chunks of a byte": (_CHUNKED, b"1\r\nx\r\n"),
    "chunk extensions": (_CHUNKED, b"1;a=b;c;d=e\r\nx\r\n"),
    "trailers": (_CHUNKED + b"0\r\n", b"a:\r\n"),
    "content": (b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 1000),
}


def http2_frame(kind: int, number: int, payload: bytes = b"", flags: int = 0) -> bytes:
    """A frame as RFC 9113 §4.1 draws it."""
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags)) + number.to_bytes(4, "big")
    return head + payload


def block(route: str, method: bytes = b"\x82") -> bytes:
    """A request's field section without a dynamic table (RFC 7541 §6.1, §6.2.1)."""
    host = f"{route}.{DOMAIN}".encode()
    return method + b"\x87\x84\x01" + bytes((len(host),)) + host


_WIDE = b"\0\x04\x7f\xff\xff\xff"
# The preface, SETTINGS with wide windows, their acknowledgement, and a wide window for all.
PREFACE = b"".join(
    (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        http2_frame(4, 0, _WIDE),
        http2_frame(4, 0, b"", 1),
        http2_frame(8, 0, b"\x7f\xff\0\0"),
    )
)


def streams(end: bytes = b"") -> Iterator[bytes]:
    """Requests without end, each on a new stream, with the frame *end* after it."""
    for first in itertools.count(1, 2000):
        yield b"".join(
            http2_frame(1, number, block("flood"), 5)
            + (http2_frame(3, number, end) if end else b"")
            for number in range(first, first + 2000, 2)
        )


_POST = http2_frame(1, 1, block("flood", b"\x83"), 4)
_UPLOAD = get("flood", "/", "Transfer-Encoding: chunked").replace(b"GET", b"POST")
CLIENT = {  # the protocol, the start of a connection, and the bytes that follow without end
    "chunks of a byte": ("http/1.1", _UPLOAD, b"1\r\nx\r\n"),
    "chunk extensions": ("http/1.1", _UPLOAD, b"1;a=b;c;d=e\r\nx\r\n"),
    "trailers": ("http/1.1", _UPLOAD + b"0\r\n", b"a:\r\n"),
    "fields": ("http/1.1", get("flood")[:-2], b"a:\r\n"),
    "pipeline without route": ("http/1.1", b"", b"GET / HTTP/1.1\r\nHost:x\r\n\r\n"),
    "DATA of a byte": ("h2", PREFACE + _POST, http2_frame(0, 1, b"x")),
    "empty DATA": ("h2", PREFACE + _POST, http2_frame(0, 1)),
    "PRIORITY": ("h2", PREFACE, http2_frame(2, 1, bytes(5))),
    "PING": ("h2", PREFACE, http2_frame(6, 0, bytes(8))),
    "SETTINGS": ("h2", PREFACE, http2_frame(4, 0)),
    "WINDOW_UPDATE": ("h2", PREFACE, http2_frame(8, 0, b"\0\0\0\1")),
    "CONTINUATION": ("h2", PREFACE + http2_frame(1, 1), http2_frame(9, 1)),
    "unknown frames": ("h2", PREFACE, http2_frame(0xAA, 0)),
    "streams": ("h2", PREFACE, b""),
    "cancelled streams": ("h2", PREFACE, b""),
}
WEBSOCKET = {
    "WebSocket ping": b"\x89\x80mask",
    "WebSocket ping with content": b"\x89\xfdmask" + bytes(125),
    "WebSocket pong": b"\x8a\x80mask",
    "empty WebSocket frame": b"\x82\x80mask",
    "fragments of a byte": b"\x02\x81maskx" + b"\x00\x81maskx" * 100 + b"\x80\x81maskx",
}


def serve(name: str) -> None:
    """Answer each connection with a flood."""
    begin, unit = UPSTREAM[name]
    data = unit * (1 + (1 << 16) // len(unit))

    def answer(sock: socket.socket) -> None:
        with contextlib.suppress(OSError), sock:
            sock.recv(1 << 16)
            sock.sendall(begin)
            while True:
                sock.sendall(data)

    with socket.create_server(("127.0.0.1", 0), backlog=1000) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()


async def serve_bulk() -> None:
    """Answer each connection with content without end, as fast as it is taken."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.read(1 << 16)
            writer.write(_CHUNKED)
            while True:
                writer.write(b"1000\r\n" + bytes(0x1000) + b"\r\n")
                await writer.drain()

    with socket.create_server(("127.0.0.1", 0), backlog=1000) as listener:
        # Little of what waits is the kernel's.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 14)
        server = await asyncio.start_server(answer, sock=listener, backlog=1000)
        print(listener.getsockname()[1], flush=True)
        await server.serve_forever()


def drain(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while sock.recv(1 << 20):
            pass


def send_all(client: Client, name: str, context: ssl.SSLContext) -> None:
    """One connection, until the proxy closes it."""
    if name in WEBSOCKET:
        unit = WEBSOCKET[name]
        client.socket.sendall(UPGRADE)
        threading.Thread(target=drain, args=(client.socket,), daemon=True).start()
        while True:
            client.socket.sendall(unit * (1 + (1 << 16) // len(unit)))
    if name.startswith("read"):
        reads = name == "read over HTTP/2"
        context.set_alpn_protocols(["h2" if reads else "http/1.1"])
        client.open_websocket()
        client.open_tls(context, "flood")
        asked = b"".join(http2_frame(1, n, block("flood"), 5) for n in range(1, 129, 2))
        client.send(PREFACE + asked if reads else get("flood"))
        drain(client.socket)
        return
    protocol, begin, unit = CLIENT[name]
    context.set_alpn_protocols([protocol])
    client.open_websocket()
    client.open_tls(context, "flood")
    threading.Thread(target=drain, args=(client.socket,), daemon=True).start()
    client.send(begin)
    more = streams(bytes(4) if name[0] == "c" else b"") if "streams" in name else None
    while True:
        client.send(next(more) if more else unit * (1 + (1 << 15) // len(unit)))


def flood(name: str, port: int, ca: str) -> None:
    """Connect again and again."""
    while True:
        with contextlib.suppress(OSError, ssl.SSLError):
            client = Client(port)
            try:
                send_all(client, name, ssl.create_default_context(cafile=ca))
            finally:
                client.close()
        time.sleep(0.02)


def main(what: str, name: str = "", *more: str) -> None:
    if what == "bulk":
        asyncio.run(serve_bulk())
    if what == "upstream":
        serve(name)
    port, ca, times = more
    for _ in range(int(times)):
        threading.Thread(target=flood, args=(name, int(port), ca), daemon=True).start()
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
