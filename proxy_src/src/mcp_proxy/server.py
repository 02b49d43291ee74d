"""The listener and its connections: accept, watch the clock, drain."""

from __future__ import annotations

import asyncio
import contextlib
from typing import cast

from . import descriptors, log
from .certificates import CertificateStore
from .connection import Listener, TunnelConnection
from .dial import Dialer
from .exchange import Forwarder
from .metrics import Metrics
from .router import Router
from .settings import Config
from .upstream import UpstreamPool

_MAX_TICK = 1.0
_BACKLOG = 1024
_READ = 1 << 16
"""Bytes read from a connection at a time: of the smallest frames, a tenth of a second's work."""
_MAX_REFUSED = 256
"""Connections at a time that are told why they are refused; beyond them, they are only closed."""


class _Rejected(asyncio.Protocol):
    """A connection for which there is nothing left, not even an answer."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See :class:`asyncio.Protocol`."""
        cast(asyncio.Transport, transport).abort()


class ProxyServer:
    """The data path of one process."""

    def __init__(self, config: Config, metrics: Metrics, certificates: CertificateStore) -> None:
        """Prepare everything but the socket. Raises :class:`certificates.CertificateError`."""
        self._config = config
        self._metrics = metrics
        metrics.connection_limit(config.limits.max_connections)
        timeouts = config.timeouts
        self._pool = UpstreamPool(Dialer(config.upstream, timeouts.connect), timeouts.upstream_idle)
        self._listener = Listener(
            forwarder=Forwarder(
                router=Router(config.routes, config.tunnel_domain),
                pool=self._pool,
                metrics=metrics,
                access_log=AccessLog(config.access_log),
                rewrite_host=config.upstream.rewrite_host,
                stall_timeout=timeouts.idle,
            ),
            certificates=certificates,
            metrics=metrics,
            timeouts=timeouts,
            limits=config.limits,
            forget=self._forget,
            buffer=memoryview(bytearray(_READ)),
        )
        self._connections: set[TunnelConnection] = set()
        self._refused: set[TunnelConnection] = set()
        self._server: asyncio.Server | None = None
        self._clock: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self._warned = False
        # One timer for all time limits: none of them has to be kept to the millisecond.
        shortest = min(timeouts.handshake, timeouts.header, timeouts.idle, timeouts.upstream_idle)
        self._tick_seconds = min(_MAX_TICK, max(shortest / 4, 0.01))

    async def start(self) -> None:
        """Listen. Raises :class:`OSError` if the address cannot be bound."""
        descriptors.raise_limit()
        wanted = self._config.limits.max_connections
        if self._limit() < wanted:
            log.event(
                log.logger,
                log.WARN,
                "descriptor limit lowers max_connections",
                max_connections=self._limit(),
                configured=wanted,
                remedy=f"set LimitNOFILE= to {2 * wanted + descriptors.RESERVE} at least",
            )
        listen = self._config.listen
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            self._connection, listen.host or None, listen.port, backlog=_BACKLOG
        )
        self._tick()

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """The addresses and ports that the proxy listens on."""
        if self._server is None:
            return []
        return [socket.getsockname()[:2] for socket in self._server.sockets]

    def stop_accepting(self) -> None:
        """Close the listening sockets: from the return on, connecting is refused."""
        if self._server is not None:
            self._server.close()

    async def drain(self, timeout: float) -> int:
        """Let requests in flight finish for *timeout* seconds, cut the rest.

        Returns how many requests were cut. If the call is cancelled, cuts at once.
        """
        for connection in self._connections | self._refused:
            connection.drain()
        cut = 0
        try:
            if self._connections or self._refused:
                self._empty.clear()
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._empty.wait(), timeout)
        finally:
            for connection in self._connections | self._refused:
                cut += connection.requests
                connection.cut()
            self._pool.close()
            if self._clock is not None:
                self._clock.cancel()
        # One more turn, in which aborted transports are closed.
        await asyncio.sleep(0)
        return cut

    def _connection(self) -> asyncio.BaseProtocol:
        limit = self._limit()
        if len(self._connections) >= limit:
            return self._refuse(limit)
        self._warned = False
        self._metrics.connection_opened()
        connection = TunnelConnection(self._listener)
        self._connections.add(connection)
        return connection

    def _limit(self) -> int:
        # A busy connection takes two descriptors: its own, and that of the upstream.
        return min(self._config.limits.max_connections, descriptors.connections() // 2)

    def _refuse(self, limit: int) -> asyncio.BaseProtocol:
        self._metrics.connection_refused()
        if not self._warned:
            self._warned = True
            log.event(log.logger, log.WARN, "connection limit reached", max_connections=limit)
        if len(self._refused) > min(_MAX_REFUSED, descriptors.connections() // 16):
            return _Rejected()
        connection = TunnelConnection(self._listener, refusal="Too many connections")
        self._refused.add(connection)
        return connection

    def _forget(self, connection: TunnelConnection) -> None:
        if connection in self._connections:
            self._connections.discard(connection)
            self._metrics.connection_closed()
        self._refused.discard(connection)
        if not self._connections and not self._refused:
            self._empty.set()

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in list(self._connections):
            connection.tick(now)
        for connection in list(self._refused):
            connection.tick(now)
        self._pool.tick(now)
        self._clock = loop.call_later(self._tick_seconds, self._tick)
