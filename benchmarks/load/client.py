"""The load generator's connections: HTTP/1.1 plain, or inside inner TLS inside WebSocket."""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast

import httptools

from benchmarks import BenchError
from benchmarks.rivals.frames import CLOSE, PING, PONG, FrameReader, client_frame

#: No step of a benchmark takes longer than this, in seconds.
STEP_SECONDS = 60.0


@dataclass(frozen=True)
class Answer:
    """Status and body length of one complete response."""

    status: int
    length: int


class HttpConnection(asyncio.Protocol):
    """A keep-alive HTTP/1.1 connection with one request at a time."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = loop.create_future()
        self._answer: asyncio.Future[Answer] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._length = 0
        self._on_body: Callable[[bytes], None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    async def request(
        self,
        head: bytes,
        body_blocks: int = 0,
        block: bytes = b"",
        on_body: Callable[[bytes], None] | None = None,
    ) -> Answer:
        """Sends a request and waits for the end of its response.

        :param head: request line and fields (and a small body)
        :param body_blocks: how often ``block`` is sent after it
        :param on_body: gets each piece of the response's body
        :raises BenchError: the connection ended early, or STEP_SECONDS passed
        """
        self._answer = asyncio.get_running_loop().create_future()
        self._length, self._on_body = 0, on_body
        try:
            async with asyncio.timeout(STEP_SECONDS):
                self.write(head)
                for _ in range(body_blocks):
                    await self._writable.wait()
                    if self._answer.done():
                        break
                    self.write(block)
                return await self._answer
        except TimeoutError:
            line = head.split(b"\r\n", 1)[0].decode()
            raise BenchError(f"no complete answer in {STEP_SECONDS:.0f} s to {line}") from None

    def write(self, data: bytes) -> None:
        """Sends bytes of the HTTP layer."""
        self.transport.write(data)

    def http_received(self, data: bytes) -> None:
        """Takes bytes of the HTTP layer."""
        self._parser.feed_data(data)

    # httptools' callbacks
    def on_body(self, body: bytes) -> None:
        """A piece of the response's body."""
        self._length += len(body)
        if self._on_body is not None:
            self._on_body(body)

    def on_message_complete(self) -> None:
        """The response is complete."""
        if self._answer is None or self._answer.done():
            raise BenchError("a response came that nobody asked for")
        self._answer.set_result(Answer(self._parser.get_status_code(), self._length))

    # asyncio's callbacks
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.opened.set_result(None)

    def data_received(self, data: bytes) -> None:
        self.http_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        error = BenchError(f"the connection ended in the middle of a step ({exc})")
        for waiting in (self.opened, self._answer):
            if waiting is not None and not waiting.done():
                waiting.set_exception(error)
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()


class TunnelConnection(HttpConnection):
    """The same inside inner TLS inside a WebSocket, as the tunnel edge carries it."""

    def __init__(
        self, context: ssl.SSLContext, host: str, session: ssl.SSLSession | None = None
    ) -> None:
        """Resumes *session* (of the same context) if there is one."""
        super().__init__()
        self.host = host
        self._upgraded = False
        self._head = b""
        self._reader = FrameReader()
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=host, session=session
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        key = base64.b64encode(os.urandom(16)).decode()
        self.transport.write(
            f"GET / HTTP/1.1\r\nHost: {self.host}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        try:
            if not self._upgraded:
                data = self._upgrade(data)
            for piece in self._reader.feed(data):
                self._incoming.write(piece)
            self._control()
            self._advance()
        except (BenchError, ssl.SSLError, httptools.HttpParserError) as error:
            self.connection_lost(error)
            self.transport.abort()

    def _upgrade(self, data: bytes) -> bytes:
        """Consumes the upgrade's answer; returns the bytes after it."""
        self._head += data
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if end:
            if not head.startswith(b"HTTP/1.1 101 "):
                raise BenchError(f"the WebSocket upgrade was answered with {head!r}")
            self._upgraded = True
            self._advance()
        return rest

    def _control(self) -> None:
        for opcode, payload in self._reader.controls:
            if opcode == PING:
                self.transport.write(client_frame(payload, PONG))
            elif opcode == CLOSE:
                raise BenchError(f"the other side closed the WebSocket: {payload!r}")
        self._reader.controls.clear()

    def _advance(self) -> None:
        """Continues the handshake, then reads the received records."""
        try:
            if not self.opened.done():
                self.tls.do_handshake()
                self._flush()
                self.opened.set_result(None)
            while data := self.tls.read(65536):
                self.http_received(data)
        except ssl.SSLWantReadError:
            self._flush()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self.transport.write(client_frame(self._outgoing.read()))

    def write(self, data: bytes) -> None:
        self.tls.write(data)
        self._flush()


async def connect_plain(port: int) -> HttpConnection:
    """Opens a plain connection to the upstream itself."""
    _, connection = await asyncio.get_running_loop().create_connection(
        HttpConnection, "127.0.0.1", port
    )
    return connection


_Tunnel = TypeVar("_Tunnel", bound=TunnelConnection)


async def connect_tunnel(
    port: int,
    context: ssl.SSLContext,
    host: str,
    kind: type[_Tunnel],
    session: ssl.SSLSession | None = None,
) -> _Tunnel:
    """Opens WebSocket and inner TLS to a chain and waits for both.

    :raises BenchError: refused, failed, or STEP_SECONDS passed
    """
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(
        lambda: kind(context, host, session), "127.0.0.1", port
    )
    try:
        async with asyncio.timeout(STEP_SECONDS):
            await connection.opened
    except TimeoutError:
        raise BenchError(f"no inner TLS connection in {STEP_SECONDS:.0f} s") from None
    return connection
