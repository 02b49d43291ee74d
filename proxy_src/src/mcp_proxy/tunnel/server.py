"""The listener and its connections: accept, watch the clock, drain."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterable
from typing import Final, cast

from ..config.model import Config
from ..http.mcp_message import McpNames
from ..system import descriptors, unsent
from ..system.memory import Surplus
from ..system.turn import Turn
from ..tls.contexts import ServerTls
from ..upstream.dial import Dialer
from ..upstream.exchange import Forwarder
from ..upstream.pool import UpstreamPool
from ..upstream.router import Router
from ..watch import log
from ..watch.access_log import AccessLog
from ..watch.metrics import Metrics
from .connection import SharedContext, TunnelConnection

_MAX_TICK: Final = 1.0
_GRACE: Final = 2.0
"""Seconds that a new connection has for its first request once the listener is closed."""

_READ: Final = 1 << 16
"""Bytes read from a connection at a time: of the smallest frames, a tenth of a second's work."""
_MAX_REFUSED: Final = 256
"""Connections at a time that are refused with a reason; any beyond them are only closed."""


class _Rejected(asyncio.Protocol):
    """A connection for which there is nothing left, not even an answer."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See :class:`asyncio.Protocol`."""
        cast(asyncio.Transport, transport).abort()


class ProxyServer:
    """The data path of one process."""

    def __init__(self, config: Config, metrics: Metrics, tls: ServerTls) -> None:
        """Prepare everything but the sockets; new connections begin with what *tls* then holds.

        Raises :class:`tls.contexts.CertificateError`.
        """
        self._config = config
        self._metrics = metrics
        self._turn = Turn()
        self._pool = self._new_pool(config)
        forwarder = self._forwarder(config, self._pool)
        self._pool.keep(forwarder.router.upstreams)
        self._shared = SharedContext(
            forwarder=forwarder,
            certificates=tls,
            metrics=metrics,
            timeouts=config.timeouts,
            limits=config.limits,
            forget=self._forget,
            buffer=memoryview(bytearray(_READ)),
            turn=self._turn,
        )
        self._connections: set[TunnelConnection] = set()
        self._refused: set[TunnelConnection] = set()
        self._servers: list[asyncio.Server] = []
        self._clock: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self._warned = False
        self._surplus = Surplus()

    async def start(self, sockets: Iterable[socket.socket], backlog: int) -> None:
        """Accept connections from listening *sockets*, of which *backlog* may wait at each."""
        descriptors.raise_limit()
        self._announce_limit()
        loop = asyncio.get_running_loop()
        for sock in sockets:
            unsent.limit(sock)
            self._servers.append(
                await loop.create_server(self._connection, sock=sock, backlog=backlog)
            )
        self._tick()

    def apply(self, config: Config) -> None:
        """Go on with *config*, all of it from one moment to the next.

        No connection is touched, and requests that have begun end as they began. The next request
        on an old connection finds the new routes; the limits that a connection agrees upon with
        its client (``max_header_bytes``, ``max_streams``) are for new connections. Raises
        :class:`tls.contexts.CertificateError`, and then nothing has changed.
        """
        as_before = _dialling(config) == _dialling(self._config)
        pool = self._pool if as_before else self._new_pool(config)
        forwarder = self._forwarder(config, pool, self._shared.forwarder.router)
        pool.keep(forwarder.router.upstreams)
        if not as_before:
            # No old connection may reach an upstream that may no longer be dialled.
            self._pool.close()
        self._config, self._pool = config, pool
        self._announce_limit()
        self._shared.forwarder = forwarder
        self._shared.timeouts = config.timeouts
        self._shared.limits = config.limits

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """The addresses and ports that the proxy listens on."""
        return [sock.getsockname()[:2] for server in self._servers for sock in server.sockets]

    def stop_accepting(self) -> None:
        """Close the listening sockets of this process."""
        for server in self._servers:
            server.close()

    async def drain(self, timeout: float) -> int:
        """Let requests in flight finish for *timeout* seconds, cut the rest.

        A client that has just connected is in flight as well, for a moment. If the call is
        cancelled, cuts at once. Returns in either case how many requests were cut.
        """
        expecting = {item for item in self._connections if item.expects_request}
        for connection in (self._connections | self._refused) - expecting:
            connection.drain()
        for connection in expecting:
            connection.drain_after_request()
        grace = asyncio.get_running_loop().call_later(_GRACE, self._drain_silent, expecting)
        cut = 0
        try:
            if self._connections or self._refused:
                self._empty.clear()
                with contextlib.suppress(asyncio.TimeoutError, asyncio.CancelledError):
                    await asyncio.wait_for(self._empty.wait(), timeout)
        finally:
            grace.cancel()
            for connection in self._connections | self._refused:
                cut += connection.requests
                connection.cut()
            self._pool.close()
            if self._clock is not None:
                self._clock.cancel()
            self._shared.cut.tell()
        # One more turn, in which aborted transports are closed.
        await asyncio.sleep(0)
        return cut

    def _new_pool(self, config: Config) -> UpstreamPool:
        timeouts = config.timeouts
        dialer = Dialer(config.upstream, timeouts.connect, timeouts.upstream_gone)
        return UpstreamPool(dialer, timeouts.upstream_idle, self._turn, timeouts.upstream_age)

    def _drain_silent(self, connections: set[TunnelConnection]) -> None:
        for connection in connections & self._connections:
            if connection.expects_request:
                connection.drain()

    def _forwarder(
        self, config: Config, pool: UpstreamPool, before: Router | None = None
    ) -> Forwarder:
        return Forwarder(
            router=Router(
                config.routes,
                config.tunnel_domain,
                config.route_options,
                config.upstream.rewrite_host,
                before,
            ),
            pool=pool,
            metrics=self._metrics,
            access_log=AccessLog(config.access_log),
            stall_timeout=config.timeouts.idle,
            gone_after=config.timeouts.upstream_gone,
            mcp_names=McpNames(config.mcp_tools),
        )

    def _announce_limit(self) -> None:
        limit, wanted = self._limit(), self._config.limits.max_connections
        self._metrics.connection_limit(limit)
        if limit < wanted:
            log.event(
                log.logger,
                log.WARN,
                "descriptor limit lowers max_connections",
                max_connections=limit,
                configured=wanted,
                remedy=f"set LimitNOFILE= to {wanted * 3 // 2 + 2 + descriptors.RESERVE} at least",
            )

    def _connection(self) -> asyncio.BaseProtocol:
        limit = self._limit()
        if len(self._connections) >= limit:
            return self._refuse(limit)
        self._warned = False
        self._metrics.connection_opened()
        connection = TunnelConnection(self._shared)
        self._connections.add(connection)
        return connection

    def _limit(self) -> int:
        # Half of them can then have a request under way, with its connection to an upstream.
        room = descriptors.connections() * 2 // 3
        return min(self._config.limits.max_connections, room)

    def _refuse(self, limit: int) -> asyncio.BaseProtocol:
        self._metrics.connection_refused()
        if not self._warned:
            self._warned = True
            log.event(log.logger, log.WARN, "connection limit reached", max_connections=limit)
        if len(self._refused) > min(_MAX_REFUSED, descriptors.connections() // 16):
            return _Rejected()
        connection = TunnelConnection(self._shared, refusal="Too many connections")
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
        load = len(self._connections)
        for connection in list(self._connections):
            connection.tick(now)
            load += connection.requests
        self._surplus.watch(load)
        for connection in list(self._refused):
            connection.tick(now)
        self._pool.tick(now)
        budget = self._turn.budget
        budget.refresh()
        self._metrics.buffered(budget.held, budget.cuts)
        self._shared.cut.tell()
        # One timer for all time limits: none of them has to be kept to the millisecond.
        timeouts = self._config.timeouts
        shortest = min(timeouts.handshake, timeouts.header, timeouts.idle, timeouts.upstream_idle)
        self._clock = loop.call_later(min(_MAX_TICK, max(shortest / 4, 0.01)), self._tick)


def _dialling(config: Config) -> tuple[object, ...]:
    """Return the settings that a pool is made from."""
    times = config.timeouts
    of_a_pool = times.connect, times.upstream_idle, times.upstream_age, times.upstream_gone
    return config.upstream, *of_a_pool
