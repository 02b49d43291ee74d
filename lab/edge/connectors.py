"""The connections that connectors hold, and which of them carries the next client."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import ssl
import uuid
from dataclasses import dataclass, field

from ..wire.h2link import Link
from ..wire.h2stream import LinkClosed
from . import rpc
from .directory import EdgeDirectory

UPGRADE_HEADER = "cf-cloudflared-proxy-connection-upgrade"
_LOCATIONS = ("lab01", "lab02")
_PING_INTERVAL = 3.0
_SILENCE = 10.0
_CHUNK = 1 << 18
_log = logging.getLogger(__name__)


class NoConnector(Exception):
    """No registered connection can carry a client."""


@dataclass
class Connection:
    """One registered connection. Implements `rpc.Registrar` for its own control stream."""

    registry: Connectors
    link: Link
    peer: str
    location: str
    application: rpc.Application | None = None
    id: uuid.UUID = field(default_factory=uuid.uuid4)
    draining: bool = False
    config: bytes = b""

    def register(self, application: rpc.Application) -> tuple[uuid.UUID, str]:
        """See rpc.Registrar."""
        self.registry.admit(application)
        self.application = application
        self.registry.connections[self.id] = self
        _log.info("registered %s", self)
        return self.id, self.location

    def unregister(self) -> None:
        """See rpc.Registrar."""
        self.draining = True
        _log.info("unregistered %s", self)

    def configure(self, config: bytes) -> None:
        """See rpc.Registrar."""
        self.config = config

    async def push(self, version: int, config: object) -> object:
        """Push ingress rules to the connector; return its answer. Raises ConnectionError."""
        body = json.dumps({"version": version, "config": config}).encode()
        stream = await self.link.open(
            [
                (":method", "POST"),
                (":scheme", "https"),
                (":authority", "tunnel.edge"),
                (":path", "/"),
                ("content-length", str(len(body))),
                (UPGRADE_HEADER, "update-configuration"),
            ]
        )
        await stream.write(body)
        await stream.end()
        await stream.response()
        answer = b""
        while data := await stream.read():
            answer += data
        return json.loads(answer)

    def carries(self, tunnel: str) -> bool:
        """Whether clients of the tunnel (UUID) can be carried here."""
        ours = self.application is not None and self.application.tunnel.hex()
        return ours == tunnel.replace("-", "") and not self.draining and not self.link.closed

    def facts(self) -> dict[str, object]:
        """The connection as `status` shows it."""
        who = self.application
        return {
            "peer": self.peer,
            "connIndex": who.index if who else None,
            "connector": str(who.connector) if who else None,
            "version": who.version if who else None,
            "connection": str(self.id),
            "location": self.location,
            "draining": self.draining,
            "streams": max(self.link.active - 1, 0),  # the control stream is not a client
        }

    def __str__(self) -> str:
        index = self.application.index if self.application else None
        return f"connection {index} of {self.peer} ({self.id})"


@dataclass
class Connectors:
    """All registered connections.

    Attributes:
        pinned: limits the choice to a peer address or connector id.
        udp: whether UDP is answered.
    """

    directory: EdgeDirectory
    refusing: bool = False
    pinned: str | None = None
    udp: bool = True
    refused: int = 0
    connections: dict[uuid.UUID, Connection] = field(default_factory=dict)
    _version: int = 0
    _turn: itertools.count[int] = field(default_factory=itertools.count)
    _links: set[Link] = field(default_factory=set)

    def admit(self, application: rpc.Application) -> None:
        """Raise Refused if this registration must fail."""
        try:
            if self.refusing:
                raise rpc.Refused("Registrations are refused for now", retry=True)
            self.directory.check(application)
            for known in self.connections.values():
                other = known.application
                if other and (other.connector, other.index) == (
                    application.connector,
                    application.index,
                ):
                    raise rpc.Refused("EDUPCONN", retry=True)
        except rpc.Refused as refused:
            self.refused += 1
            _log.info("refused connection %d: %s", application.index, refused)
            raise

    def choose(self, tunnel: str) -> Connection:
        """Return the connection for the next client of the tunnel (UUID), in turn.

        Raises NoConnector.
        """
        candidates = [
            each
            for each in self.connections.values()
            if each.carries(tunnel) and self._allowed(each)
        ]
        if not candidates:
            among = f" at {self.pinned}" if self.pinned else ""
            raise NoConnector(f"no connector is registered{among}")
        return candidates[next(self._turn) % len(candidates)]

    def drop(self) -> int:
        """Cut every connection as a failing network would; return how many."""
        for link in self._links:
            link.abort()
        return len(self._links)

    async def push(self, config: object) -> list[object]:
        """Push ingress rules over one connection of each connector; return the answers.

        Raises ConnectionError.
        """
        self._version += 1
        firsts = {
            each.application.connector: each
            for each in self.connections.values()
            if each.application
        }
        return [await each.push(self._version, config) for each in firsts.values()]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection that a connector opened, until it ends."""
        peer = str(writer.get_extra_info("peername")[0]).removeprefix("::ffff:")
        local = str(writer.get_extra_info("sockname")[0])
        second = local.startswith(("198.41.200.", "2606:4700:a8:"))
        link = Link(reader, writer, client=True)
        connection = Connection(self, link, peer, _LOCATIONS[second])
        self._links.add(link)
        carried = [asyncio.create_task(link.run()), asyncio.create_task(_watch(link))]
        tasks = [*carried, asyncio.create_task(self._control(connection))]
        try:
            # After the control stream the connector still ends its last streams, then closes.
            await asyncio.wait(carried, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._links.discard(link)
            if self.connections.pop(connection.id, None):
                _log.info("lost %s", connection)
            link.abort()
            for task in tasks:
                task.cancel()
            for ended in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(ended, Exception) and not isinstance(ended, ConnectionError):
                    _log.error("%s", connection, exc_info=ended)

    async def _control(self, connection: Connection) -> None:
        stream = await connection.link.open(
            [
                (":method", "GET"),
                (":scheme", "https"),
                (":authority", "tunnel.edge"),
                (":path", "/"),
                (UPGRADE_HEADER, "control-stream"),
            ]
        )
        await stream.response()
        await rpc.serve(stream, connection)
        # Unregistered: the vendor's connector waits for the edge to close the connection.
        await stream.end()
        await connection.link.idle()
        await connection.link.close()

    def _allowed(self, connection: Connection) -> bool:
        connector = connection.application.connector if connection.application else None
        return self.pinned in (None, connection.peer, str(connector))


async def _watch(link: Link) -> None:
    """Cut a connection whose connector vanished silently, as a host that lost power does."""
    loop = asyncio.get_running_loop()
    link.last_heard = loop.time()
    with contextlib.suppress(LinkClosed):
        while loop.time() - link.last_heard < _SILENCE:
            await asyncio.sleep(_PING_INTERVAL)
            link.ping()


def tls_context(directory: EdgeDirectory) -> ssl.SSLContext:
    """The edge's side of the outer TLS; no ALPN, as the vendor's connector offers none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory.certificate, directory.key)
    return context
