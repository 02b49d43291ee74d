"""The part of the rival chain that haproxy lacks: WebSocket in, TCP out.

Does only the job of the proxy's listener, as cheaply as Python can: protocol
callbacks on uvloop, unmasking in C, one read is one write.

Usage: python -m benchmarks.rivals.unwrapper LISTEN_PORT TARGET_PORT
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import sys
from typing import cast

import uvloop

from benchmarks.rivals.frames import CLOSE, PING, PONG, FrameReader, server_header

_MAX_HEAD = 16384
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3


class Target(asyncio.Protocol):
    """The TCP connection to haproxy: every read becomes one binary frame."""

    def __init__(self, outer: Listener) -> None:
        self.outer = outer
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.outer.target_ready(self.transport)

    def data_received(self, data: bytes) -> None:
        length = len(data)
        if length < 4096:  # one small copy is cheaper than a second buffer
            self.outer.transport.write(server_header(length) + data)
        else:
            self.outer.transport.writelines((server_header(length), data))

    def connection_lost(self, exc: Exception | None) -> None:
        self.outer.transport.close()

    def pause_writing(self) -> None:
        self.outer.transport.pause_reading()

    def resume_writing(self) -> None:
        self.outer.transport.resume_reading()


class Listener(asyncio.Protocol):
    """One WebSocket connection from the tunnel."""

    transport: asyncio.Transport

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._target: asyncio.Transport | None = None
        self._reader = FrameReader()
        self._head = b""
        self._accept = b""
        self._dial: asyncio.Task[object] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._target is None:
            self._upgrade(data)
            return
        for piece in self._reader.feed(data):
            self._target.write(piece)
        if self._reader.controls:
            self._control()

    def _control(self) -> None:
        for opcode, payload in self._reader.controls:
            if opcode == PING:
                self.transport.write(server_header(len(payload), 0x80 | PONG) + payload)
            elif opcode == CLOSE:
                self.transport.write(server_header(len(payload), 0x80 | CLOSE) + payload)
                self.transport.close()
        self._reader.controls.clear()

    def _upgrade(self, data: bytes) -> None:
        self._head += data
        if b"\r\n\r\n" not in self._head:
            if len(self._head) > _MAX_HEAD:
                self.transport.abort()
            return
        lines = self._head.split(b"\r\n")[1:]
        fields = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(b":") for line in lines)
        }
        key = fields.get(b"sec-websocket-key")
        if key is None or fields.get(b"upgrade", b"").lower() != b"websocket":
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            self.transport.close()
            return
        self._accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())  # noqa: S324 - RFC
        # The client may not send before it has the 101, which waits for the target.
        loop = asyncio.get_running_loop()
        self._dial = loop.create_task(
            loop.create_connection(lambda: Target(self), "127.0.0.1", self._target_port)
        )

    def target_ready(self, target: asyncio.Transport) -> None:
        """Answer the upgrade, as the target is connected."""
        self._target = target
        self.transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Accept: " + self._accept + b"\r\n\r\n"
        )

    def connection_lost(self, exc: Exception | None) -> None:
        if self._target is not None:
            self._target.close()
        elif self._dial is not None:
            self._dial.cancel()

    def pause_writing(self) -> None:
        if self._target is not None:
            self._target.pause_reading()

    def resume_writing(self) -> None:
        if self._target is not None:
            self._target.resume_reading()


async def _serve(listen_port: int, target_port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Listener(target_port), "127.0.0.1", listen_port, backlog=4096
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), int(sys.argv[2])))
