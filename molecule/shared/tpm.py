"""A TPM for systemd on a host: swtpm, with a session for each of its users as in a kernel's driver.

The kernel that all hosts share has no driver for it. Speaks the protocol of TCG's simulator, whose
connections last as long as a session does (libtss2-tcti-mssim); swtpm's own do not.
"""

from __future__ import annotations

import socket
import subprocess
import threading
from io import BufferedRWPair

_STATE = "/var/lib/tpm"
_PORT = 2321  # the next one is for the power
# TPM2_FlushContext for all that a session may have left, and TPM2_Shutdown: the power may go now.
_LEFT = [kind | number for kind in (0x02000000, 0x03000000, 0x80000000) for number in range(3)]
_END = [
    *(bytes.fromhex("80010000000e00000165") + handle.to_bytes(4, "big") for handle in _LEFT),
    bytes.fromhex("80010000000c000001450000"),
]
_SEND = 8  # a command follows: locality, length, content
_DONE = bytes(4)


def _started() -> BufferedRWPair:
    """Start swtpm; return the stream of its commands and answers."""
    ours, its = socket.socketpair()
    with its:
        command = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={_STATE}"]
        command += ["--flags", "startup-clear", f"--fd={its.fileno()}"]
        subprocess.Popen(command, pass_fds=[its.fileno()])
    return ours.makefile("rwb")


def _ask(tpm: BufferedRWPair, command: bytes) -> bytes:
    tpm.write(command)
    tpm.flush()
    head = tpm.read(10)
    return head + tpm.read(int.from_bytes(head[2:6], "big") - len(head))


def _serve(tpm: BufferedRWPair, client: BufferedRWPair) -> None:
    while _number(client) == _SEND:
        client.read(1)
        answer = _ask(tpm, client.read(_number(client)))
        client.write(len(answer).to_bytes(4, "big") + answer + _DONE)
        client.flush()
    for command in _END:
        _ask(tpm, command)


def _number(stream: BufferedRWPair) -> int:
    return int.from_bytes(stream.read(4), "big")


def _switches() -> None:
    """Let each client believe that it switches the power on."""
    with socket.create_server(("127.0.0.1", _PORT + 1)) as server:
        while True:
            threading.Thread(target=_switch, args=server.accept()[:1], daemon=True).start()


def _switch(client: socket.socket) -> None:
    with client:
        while client.recv(4, socket.MSG_WAITALL):
            client.sendall(_DONE)


def _main() -> None:
    threading.Thread(target=_switches, daemon=True).start()
    tpm = _started()
    with socket.create_server(("127.0.0.1", _PORT)) as server:
        while True:
            client, _address = server.accept()
            with client, client.makefile("rwb") as stream:
                _serve(tpm, stream)


if __name__ == "__main__":
    _main()
