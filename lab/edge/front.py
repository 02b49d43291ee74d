"""The front door: carries any client's bytes through the tunnel without looking at them.

The client speaks TLS with the proxy; the edge only wraps the bytes in WebSocket messages on a
stream of one of the connectors, and unwraps the answer. The name in the ClientHello selects the
tunnel.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field

from ..tunnels_api.state import Tunnel
from .channel import Channel, Unanswered
from .connectors import Connection, Connectors, NoConnector
from .hello import peek
from .trust import Trust, Untrusted

# One WebSocket message per read from the client.
_CHUNK = 1 << 16
_CLOSING = 5.0
_log = logging.getLogger(__name__)


class NoTunnel(Exception):
    """No active tunnel is for this client."""


@dataclass
class FrontDoor:
    """Serves the clients of all tunnels. `carried` and `failed` count clients."""

    connectors: Connectors
    carried: int = 0
    failed: int = 0
    last_failure: str = ""
    _trust: Trust = field(default_factory=Trust)

    @property
    def domain(self) -> str:
        """Domain of the tunnel for manual mode."""
        return self.connectors.directory.tunnel().domain

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one client; it is cut off when no connector can take it."""
        try:
            tunnel, first, name = await self._tunnel(reader)
            connection = await self._verified(tunnel, name or f"probe.{tunnel['domain']}")
            channel = await Channel.open(connection, tunnel["domain"])
        except (NoTunnel, NoConnector, Unanswered, Untrusted, ConnectionError) as error:
            self.failed += 1
            self.last_failure = str(error)
            _log.warning("client not carried: %s", error)
            writer.transport.abort()
            return
        self.carried += 1
        try:
            await _Carried(channel, reader, writer).run(first)
        except ConnectionError as error:
            _log.info("client cut off: %s", error)
            writer.transport.abort()
        finally:
            channel.reset()
            writer.close()

    async def _verified(self, tunnel: Tunnel, host: str) -> Connection:
        """A connection of the tunnel whose proxy may have this client."""
        while True:
            connection = self.connectors.choose(tunnel["uuid"])
            await self._trust.check(connection, tunnel, host)
            # The connector may have taken its leave meanwhile. It is then not asked any more.
            if connection.carries(tunnel["uuid"]):
                return connection

    async def _tunnel(self, reader: asyncio.StreamReader) -> tuple[Tunnel, bytes, str | None]:
        """The client's tunnel, its bytes so far, and the host it wants. Raises NoTunnel."""
        known = self.connectors.directory.tunnels()
        alone = known[0] if len(known) == 1 else None
        if alone and alone["any_ca"] and alone["archived_at"] is None:
            # No choice and nothing to check: this also serves clients that wait for the server.
            return alone, b"", None
        first, name = await peek(reader)
        for tunnel in known:
            if tunnel["archived_at"] is not None:
                continue
            if name is None or f".{name}".endswith(f".{tunnel['domain']}"):
                return tunnel, first, name
        raise NoTunnel(f"no active tunnel has the domain of {name}")


class _Carried:
    """One client on one channel."""

    def __init__(
        self, channel: Channel, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._channel = channel
        self._reader = reader
        self._writer = writer

    async def run(self, first: bytes) -> None:
        """Pipe both ways, beginning with `first`, until the proxy has ended.

        Raises ConnectionError.
        """
        inward, outward = tasks = [
            asyncio.create_task(self._to_proxy(first)),
            asyncio.create_task(self._to_client()),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if inward.done():
                inward.result()
                # The client has ended: the proxy may still answer its earlier bytes.
                await asyncio.wait([outward], timeout=_CLOSING)
            if outward.done():
                outward.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _to_proxy(self, first: bytes) -> None:
        with contextlib.suppress(ConnectionResetError):
            if first:
                await self._channel.send(first)
            while data := await self._reader.read(_CHUNK):
                await self._channel.send(data)
        await self._channel.end()

    async def _to_client(self) -> None:
        while data := await self._channel.receive():
            self._writer.write(data)
            await self._writer.drain()
