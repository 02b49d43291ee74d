"""Bytes through a tunnel: masked binary WebSocket messages on a stream of a connector."""

from __future__ import annotations

import base64
import secrets

from websockets.exceptions import ProtocolError
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State

from ..wire.h2stream import Stream
from .connectors import UPGRADE_HEADER, Connection

_SOURCE_HEADER = "cf-cloudflared-response-meta"


class Unanswered(Exception):
    """The connector did not upgrade the request."""


class Channel:
    """One upgraded stream. All methods raise ConnectionError."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._frames = Protocol(Side.CLIENT, state=State.OPEN, max_size=None)
        self._ended = False

    @classmethod
    async def open(cls, connection: Connection, authority: str) -> Channel:
        """Ask the connector for an upgrade. Raises Unanswered, ConnectionError."""
        stream = await connection.link.open(
            [
                (":method", "GET"),
                (":scheme", "https"),
                (":authority", authority),
                (":path", "/"),
                (UPGRADE_HEADER, "websocket"),
                ("sec-websocket-key", base64.b64encode(secrets.token_bytes(16)).decode()),
                ("sec-websocket-version", "13"),
            ]
        )
        headers = await stream.response()
        if headers[":status"] != "200":
            stream.reset()
            source = headers.get(_SOURCE_HEADER, "nobody")
            raise Unanswered(f"{connection} answered {headers[':status']}, says {source}")
        return cls(stream)

    async def send(self, data: bytes) -> None:
        """Send `data` as one message."""
        self._frames.send_binary(data)
        await self._flush()

    async def end(self) -> None:
        """Announce the end of the data. A WebSocket has no half-close, so both directions end."""
        if self._frames.state is State.OPEN:
            self._frames.send_close(1000)
        await self._flush()

    async def receive(self) -> bytes:
        """Return the next bytes, b"" at the end."""
        while not self._ended:
            data = await self._stream.read()
            if not data:
                break
            self._frames.receive_data(data)
            await self._flush()
            self._ended = self._frames.state is not State.OPEN
            payload = b"".join(
                event.data
                for event in self._frames.events_received()
                if isinstance(event, Frame) and event.opcode in (Opcode.BINARY, Opcode.CONT)
            )
            if payload:
                return payload
        if isinstance(self._frames.parser_exc, ProtocolError):
            raise ConnectionError(f"broken WebSocket frame: {self._frames.parser_exc}")
        return b""

    def reset(self) -> None:
        """Give the stream up."""
        self._stream.reset()

    async def _flush(self) -> None:
        for data in self._frames.data_to_send():
            if data:
                await self._stream.write(data)
