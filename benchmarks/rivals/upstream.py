"""The upstream that both chains talk to: small answers, N bytes, a sink, events.

Usage: python -m benchmarks.rivals.upstream PORT [ADDRESS]

| request | answer |
|---|---|
| POST /mcp | SMALL_ANSWER |
| GET /bytes/N | N zero bytes |
| POST /sink | the number of bytes received |
| GET /events/COUNT/MILLISECONDS | that many events, each the monotonic clock in ns |
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import cast

import httptools
import uvloop

SMALL_ANSWER = (
    b'{"jsonrpc":"2.0","id":17,"result":{"content":[{"type":"text",'
    b'"text":"the quick brown fox jumps over the lazy dog, and the dog lets it"}],'
    b'"isError":false}}'
)
_BLOCK = bytes(65536)


class Upstream(asyncio.Protocol):
    """One connection, keep-alive, one request at a time."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._received = 0
        self._body_left = 0
        self._paused = False
        self._events: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._events is not None:
            self._events.cancel()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        """httptools: a request starts."""
        self._url = b""
        self._received = 0

    def on_url(self, url: bytes) -> None:
        """httptools: a piece of the request target."""
        self._url += url

    def on_body(self, body: bytes) -> None:
        """httptools: a piece of the body."""
        self._received += len(body)

    def on_message_complete(self) -> None:
        """httptools: the request is complete; answers it."""
        _, kind, *values = self._url.decode().split("/")
        if kind == "mcp":
            self._answer(SMALL_ANSWER)
        elif kind == "sink":
            self._answer(str(self._received).encode())
        elif kind == "bytes":
            self._body_left = int(values[0])
            self.transport.write(_head(self._body_left, b"application/octet-stream"))
            self._stream()
        elif kind == "events":
            self._events = asyncio.get_running_loop().create_task(
                self._send_events(int(values[0]), int(values[1]) / 1000)
            )
        else:
            self.transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    def _answer(self, body: bytes) -> None:
        self.transport.write(_head(len(body), b"application/json") + body)

    def _stream(self) -> None:
        while self._body_left and not self._paused:
            block = _BLOCK if self._body_left >= len(_BLOCK) else bytes(self._body_left)
            self._body_left -= len(block)
            self.transport.write(block)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._stream()

    async def _send_events(self, count: int, interval: float) -> None:
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Cache-Control: no-store\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for _ in range(count):
            await asyncio.sleep(interval)
            event = b"data: %d\n\n" % time.monotonic_ns()
            self.transport.write(b"%x\r\n%s\r\n" % (len(event), event))
        self.transport.write(b"0\r\n\r\n")


def _head(length: int, kind: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" % (kind, length)


async def _serve(port: int, address: str = "127.0.0.1") -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, address, port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), *sys.argv[2:]))
