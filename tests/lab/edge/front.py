"""The front door: carries any client's bytes through the tunnel without looking at them.

The client speaks TLS with the proxy; the edge only wraps the bytes in masked binary WebSocket
messages on a stream of one of the connectors, and unwraps the answer.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import secrets
from dataclasses import dataclass

from websockets.exceptions import ProtocolError
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State

from ..h2stream import Stream
from .connectors import UPGRADE_HEADER, Connection, Connectors, NoConnector

# One WebSocket message per read from the client.
_CHUNK = 1 << 16
_CLOSING = 5.0
_SOURCE_HEADER = "cf-cloudflared-response-meta"
_log = logging.getLogger(__name__)


class Unanswered(Exception):
    """The connector did not upgrade the request."""


@dataclass
class FrontDoor:
    """Serves the clients of one tunnel domain. `carried` and `failed` count clients."""

    connectors: Connectors
    domain: str
    carried: int = 0
    failed: int = 0
    last_failure: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one client; it is cut off when no connector can take it."""
        try:
            connection = self.connectors.choose()
            stream = await self._open(connection)
        except (NoConnector, Unanswered, ConnectionError) as error:
            self.failed += 1
            self.last_failure = str(error)
            _log.warning("client not carried: %s", error)
            writer.transport.abort()
            return
        self.carried += 1
        try:
            await _Carried(stream, reader, writer).run()
        except ConnectionError as error:
            _log.info("client cut off: %s", error)
            writer.transport.abort()
        finally:
            stream.reset()
            writer.close()

    async def _open(self, connection: Connection) -> Stream:
        stream = await connection.link.open(
            [
                (":method", "GET"),
                (":scheme", "https"),
                (":authority", self.domain),
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
        return stream


class _Carried:
    """One client on one stream."""

    def __init__(
        self, stream: Stream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._stream = stream
        self._reader = reader
        self._writer = writer
        self._frames = Protocol(Side.CLIENT, state=State.OPEN, max_size=None)

    async def run(self) -> None:
        """Pipe both ways until the proxy has ended. Raises ConnectionError."""
        inward, outward = tasks = [
            asyncio.create_task(self._to_proxy()),
            asyncio.create_task(self._to_client()),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if inward.done():
                inward.result()
                # The client has ended: the proxy may still answer what came before its end.
                await asyncio.wait([outward], timeout=_CLOSING)
            if outward.done():
                outward.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _to_proxy(self) -> None:
        with contextlib.suppress(ConnectionResetError):
            while data := await self._reader.read(_CHUNK):
                self._frames.send_binary(data)
                await self._flush()
        # A WebSocket has no half-close: the close frame ends both directions.
        if self._frames.state is State.OPEN:
            self._frames.send_close(1000)
        await self._flush()

    async def _to_client(self) -> None:
        while data := await self._stream.read():
            self._frames.receive_data(data)
            await self._flush()
            for event in self._frames.events_received():
                if isinstance(event, Frame) and event.opcode in (Opcode.BINARY, Opcode.CONT):
                    self._writer.write(event.data)
                    await self._writer.drain()
            if isinstance(self._frames.parser_exc, ProtocolError):
                raise ConnectionError(f"broken WebSocket frame: {self._frames.parser_exc}")
            if self._frames.state is not State.OPEN:
                return

    async def _flush(self) -> None:
        for data in self._frames.data_to_send():
            if data:
                await self._stream.write(data)
