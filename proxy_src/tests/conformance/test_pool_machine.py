"""The pool of upstream connections in any sequence of events: none lent twice, or lost."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Collection
from typing import Any
from unittest import mock

import hypothesis.strategies as st
import mcp_proxy.upstream.pool
import pytest
from fakes import deliver
from hypothesis import settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from mcp_proxy.config.model import Upstream
from mcp_proxy.http.messages import Headers, ResponseHead
from mcp_proxy.system.turn import Turn
from mcp_proxy.upstream.addresses import Addresses
from mcp_proxy.upstream.dial import DialError
from mcp_proxy.upstream.pool import UpstreamConnection, UpstreamPool

UPSTREAMS = [
    *(Upstream("http", name, 80) for name in ("a", "b")),
    Upstream("http", "b", 80, spread=True),
]
ADDRESSES = ["10.0.0.1", "10.0.0.2"]
IDLE_SECONDS = 60
AGE_SECONDS = 100
GONE_SECONDS = 30
LIMIT = 3
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n%b\r\nok"


class Transport(asyncio.Transport):
    """Takes everything that is written, and tells what the kernel knows of its peer."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: UpstreamConnection) -> None:
        self.loop = loop
        self.protocol = protocol
        self.born = 0.0
        self.ours, self.peer = socket.socketpair()
        self.closed = self.reported = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.ours if name == "socket" else default

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is ever kept."""

    def write(self, data: Any) -> None:
        assert not self.closed

    def pause_reading(self) -> None:
        assert not self.closed

    resume_reading = pause_reading

    def abort(self) -> None:
        if not self.closed:
            self.closed = True
            self.loop.call_soon(self.report, None)

    close = abort

    def report(self, error: Exception | None) -> None:
        """Report the end once, as event loops do, whichever side closed."""
        if not self.reported:
            self.closed = self.reported = True
            self.protocol.connection_lost(error)
            self.ours.close()
            self.peer.close()


class Dialer:
    """Connects as the test says: at once, never, or not at all; and to which address."""

    def __init__(self, machine: PoolMachine) -> None:
        self.machine = machine
        self.fate = "connects"
        self.transports: list[Transport] = []
        self.late: list[UpstreamConnection] = []
        self.known: dict[Upstream, Addresses] = {}

    def addresses(self, upstream: Upstream) -> Addresses:
        if upstream not in self.known:
            self.known[upstream] = Addresses(upstream.spread, self.machine.monotonic)
        return self.known[upstream]

    def set_aside(self, upstream: Upstream, address: str, reason: str) -> None:
        self.addresses(upstream).failed(address)

    def try_again(self, upstream: Upstream) -> None:
        """Each trial succeeds at once."""
        if address := self.addresses(upstream).due():
            self.addresses(upstream).mended(address)

    def keep(self, upstreams: Collection[Upstream]) -> None:
        self.known = {name: known for name, known in self.known.items() if name in upstreams}

    def close(self) -> None:
        """Nothing is under way."""

    async def connect(
        self, upstream: Upstream, factory: Callable[[str], UpstreamConnection]
    ) -> UpstreamConnection:
        if self.fate == "fails":
            raise DialError(502, "refused", "connection_refused", "no", "no")
        if self.fate == "hangs":
            await asyncio.get_running_loop().create_future()
        address, *others = self.addresses(upstream).order(ADDRESSES)
        self.late += [factory(other) for other in others]
        if self.fate == "wins a race":
            self.made(factory(others[0]))
        protocol = factory(address)
        self.made(protocol)
        if self.fate == "is given up":
            await asyncio.get_running_loop().create_future()
        self.addresses(upstream).used(address)
        return protocol

    def made(self, protocol: UpstreamConnection) -> None:
        transport = Transport(asyncio.get_running_loop(), protocol)
        transport.born = self.machine.now
        self.transports.append(transport)
        protocol.connection_made(transport)


class User:
    """The exchange that has a connection: notes how it ends."""

    room = 1 << 16

    def __init__(self, machine: PoolMachine, connection: UpstreamConnection) -> None:
        self.machine = machine
        self.connection = connection

    def response_interim(self, status: int, headers: Headers) -> None:
        """Nothing to do."""

    def response_head(self, head: ResponseHead) -> None:
        """Nothing to do."""

    def response_body(self, data: bytes) -> None:
        """Nothing to do."""

    def response_end(self, trailers: Headers) -> None:
        self.machine.lent.remove(self.connection)
        self.connection.finish(request_complete=self.machine.request_complete)
        if not self.machine.request_complete:
            # The rest of the request would be read as the next one.
            assert self.connection.transport.is_closing()

    def upstream_failed(self, error: Exception, untouched: bool) -> None:
        self.machine.lent.remove(self.connection)

    def pause_upload(self) -> None:
        """Nothing to do."""

    resume_upload = pause_upload


class PoolMachine(RuleBasedStateMachine):
    """Exchanges, upstreams and the clock, in any order."""

    @initialize()
    def begin(self) -> None:
        self.now = 1000.0
        self.loop = asyncio.new_event_loop()
        self.clock = mock.patch.object(mcp_proxy.upstream.pool, "time", self)
        self.clock.start()
        self.errors: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.errors.append(context))
        self.dialer = Dialer(self)
        self.pool = UpstreamPool(
            self.dialer,  # type: ignore[arg-type]
            IDLE_SECONDS,
            Turn(),
            AGE_SECONDS,
        )
        self.last: dict[Upstream, str] = {}
        self.lent: list[UpstreamConnection] = []
        self.expired: set[UpstreamConnection] = set()
        self.request_complete = True
        self.closed = False
        self.served = 0

    def monotonic(self) -> float:
        """The pool's clock: the machine stands in for the module ``time``."""
        return self.now

    def do(self, action: Callable[[], Any]) -> Any:
        """Run *action* inside the event loop, and then the calls that it has put off."""

        async def act() -> Any:
            result = action()
            if asyncio.iscoroutine(result):
                result = await result
            for _ in range(3):
                await asyncio.sleep(0)
            return result

        return self.loop.run_until_complete(act())

    def lend(self, connection: UpstreamConnection) -> None:
        assert connection not in self.lent
        assert not connection.transport.is_closing()
        self.lent.append(connection)
        user = User(self, connection)
        connection.begin(user, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"GET")  # type: ignore[arg-type]

    def one_of(self, which: int) -> UpstreamConnection:
        return self.lent[which % len(self.lent)]

    # -- exchanges -----------------------------------------------------------------------------

    @rule(upstream=st.sampled_from(UPSTREAMS), fate=st.sampled_from(("connects", "wins a race")))
    def take(self, upstream: Upstream, fate: str = "connects") -> None:
        """Take a connection as an exchange does: an idle one, or else a new one."""

        async def ask() -> None:
            connection = self.pool.take(upstream)
            if connection is None:
                self.dialer.fate = fate
                connection = await self.pool.dial(upstream)
                assert not connection.used
            else:
                assert connection.used
                assert connection.expires > self.now
                assert self.age(connection) < AGE_SECONDS
            assert connection.reserve.upstream == upstream
            if upstream.spread and not self.aside(upstream):
                assert connection.address != self.last.get(upstream)
            self.last[upstream] = connection.address
            self.lend(connection)

        self.do(ask)

    def age(self, connection: UpstreamConnection) -> float:
        (transport,) = (one for one in self.dialer.transports if one.protocol is connection)
        return self.now - transport.born

    def aside(self, upstream: Upstream) -> bool:
        """Whether an address does not take its turn."""
        return bool(self.dialer.addresses(upstream)._aside)

    @precondition(lambda self: self.dialer.late)
    @rule()
    def those_that_lost_connect_at_last(self) -> None:
        """The winner has been taken long since, and nobody waits for these."""

        def connect() -> None:
            while self.dialer.late:
                self.dialer.made(self.dialer.late.pop())

        self.do(connect)

    @precondition(lambda self: self.lent)
    @rule(which=st.integers(0, 99))
    def the_machine_is_gone(self, which: int) -> None:
        """Nothing else is kept that leads there."""
        connection = self.one_of(which)
        upstream, address = connection.reserve.upstream, connection.address
        with mock.patch.object(mcp_proxy.upstream.pool, "keepalive") as keepalive:
            keepalive.silence.return_value = GONE_SECONDS
            self.do(lambda: connection.check(GONE_SECONDS))
        assert connection not in self.lent
        for other in (item for idle in self.idle() for item in idle):
            assert (other.reserve.upstream, other.address) != (upstream, address)

    @rule(upstreams=st.sets(st.sampled_from(UPSTREAMS)))
    def reload(self, upstreams: set[Upstream]) -> None:
        """Some upstreams are configured no more, and may be again."""
        self.do(lambda: self.pool.keep(upstreams))
        for upstream in set(UPSTREAMS) - upstreams:
            self.last.pop(upstream, None)
        assert {item.reserve.upstream for idle in self.idle() for item in idle} <= upstreams

    @rule(upstream=st.sampled_from(UPSTREAMS), together=st.integers(1, LIMIT + 2))
    def serve(self, upstream: Upstream, together: int) -> None:
        """Some exchanges at the same time, from the beginning to a good end."""
        for _ in range(together):
            self.take(upstream)
        self.request_complete = True
        for connection in self.lent[-together:]:
            self.do(lambda connection=connection: deliver(connection, OK % b""))
            self.served += 1

    @rule(
        upstream=st.sampled_from(UPSTREAMS), fate=st.sampled_from(("fails", "hangs", "is given up"))
    )
    def dial_in_vain(self, upstream: Upstream, fate: str) -> None:
        async def ask() -> None:
            self.dialer.fate = fate
            task = asyncio.ensure_future(self.pool.dial(upstream))
            for _ in range(3):
                await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(DialError, asyncio.CancelledError):
                await task
                raise AssertionError("connected")

        self.do(ask)

    @precondition(lambda self: self.lent)
    @rule(which=st.integers(0, 99))
    def give_up(self, which: int) -> None:
        """The client has gone."""
        connection = self.one_of(which)
        self.lent.remove(connection)
        self.do(connection.discard)

    # -- upstreams -----------------------------------------------------------------------------

    @precondition(lambda self: self.lent)
    @rule(
        which=st.integers(0, 99),
        answer=st.sampled_from(
            (
                OK % b"",
                OK % b"Keep-Alive: timeout=5\r\n",
                OK % b"Keep-Alive: timeout=1\r\n",
                OK % b"Connection: close\r\n",
                (OK % b"") + b"surplus",
                b"HTTP/1.1 100 Continue\r\n\r\n" + OK % b"",
                b"HTTP/1.1 204 No Content\r\n\r\n",
                CHUNKED + b"0\r\nConnection: close\r\n\r\n",
                b"garbage\r\n\r\n",
            )
        ),
        request_complete=st.booleans(),
        at=st.integers(1, 200),
    )
    def answer(self, which: int, answer: bytes, request_complete: bool, at: int) -> None:
        """Answer in one piece or in two."""
        connection = self.one_of(which)
        self.request_complete = request_complete
        for part in (answer[:at], answer[at:]):
            if part and not connection.transport.is_closing():
                self.do(lambda part=part: deliver(connection, part))
        self.served += 1

    @precondition(lambda self: self.lent)
    @rule(which=st.integers(0, 99))
    def half_an_answer(self, which: int) -> None:
        self.do(
            lambda: deliver(self.one_of(which), b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
        )
        # The rest never comes, and no other exchange may get the connection.

    @precondition(lambda self: self.open_transports())
    @rule(which=st.integers(0, 99), error=st.booleans())
    def loses(self, which: int, error: bool) -> None:
        """A connection ends, idle or not."""
        transports = self.open_transports()
        transport = transports[which % len(transports)]
        self.do(lambda: transport.report(ConnectionResetError("gone") if error else None))

    @precondition(lambda self: self.open_transports())
    @rule(which=st.integers(0, 99))
    def says_that_it_closes(self, which: int) -> None:
        """The kernel knows it already, and the event loop does not."""
        transports = self.open_transports()
        transports[which % len(transports)].peer.shutdown(socket.SHUT_WR)

    @precondition(lambda self: self.open_transports())
    @rule(which=st.integers(0, 99), seen=st.booleans())
    def speaks_unasked(self, which: int, seen: bool) -> None:
        transports = self.open_transports()
        transport = transports[which % len(transports)]
        if transport.protocol in self.lent:
            return
        if seen:
            self.do(lambda: deliver(transport.protocol, b"HTTP/1.1 408 Timeout\r\n\r\n"))
            assert transport.closed
        else:
            with contextlib.suppress(BrokenPipeError):  # it has said that it closes
                transport.peer.send(b"HTTP/1.1 408 Timeout\r\n\r\n")

    # -- the clock, and the end ----------------------------------------------------------------

    @rule(seconds=st.sampled_from((0.5, 59.0, 61.0)))
    def time_passes(self, seconds: float) -> None:
        """Time passes, and the pool has not had its turn yet."""
        self.now += seconds

    @rule(seconds=st.sampled_from((0.5, 3.0, 5.0, 61.0)))
    def time_passes_and_the_pool_looks(self, seconds: float) -> None:
        self.now += seconds
        self.do(lambda: self.pool.tick(self.now))
        for idle in self.idle():
            assert all(connection.expires > self.now for connection in idle)

    @precondition(lambda self: self.served > 5)
    @rule()
    def close(self) -> None:
        """Close the pool late, as there is little to test afterwards."""
        self.do(self.pool.close)
        self.closed = True
        assert not any(self.idle())

    # -- invariants ----------------------------------------------------------------------------

    def idle(self) -> list[list[UpstreamConnection]]:
        return [list(reserve.idle) for reserve in self.pool._reserves.values()]

    def open_transports(self) -> list[Transport]:
        return [transport for transport in self.dialer.transports if not transport.closed]

    @invariant()
    def every_connection_is_lent_or_idle(self) -> None:
        idle = [connection for connections in self.idle() for connection in connections]
        assert len(set(idle)) == len(idle)
        assert not set(idle) & set(self.lent)
        kept = {transport.protocol for transport in self.open_transports()}
        assert kept == set(idle) | set(self.lent)
        assert all(len(connections) <= LIMIT for connections in self.idle())
        assert not (self.closed and idle)
        assert not self.errors

    def teardown(self) -> None:
        self.do(self.pool.close)
        for connection in list(self.lent):
            self.do(connection.discard)
        assert not self.open_transports()
        self.clock.stop()
        self.loop.close()


@pytest.fixture(autouse=True)
def _small_reserve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_proxy.upstream.pool, "_MAX_IDLE", LIMIT)


# What compiled code imports from another compiled module cannot be replaced.
TestPool = pytest.mark.pure("replaces keepalive")(PoolMachine.TestCase)
# Examples are long: the profile "explore" gets only as many of its many as fit into the limit.
TestPool.settings = settings(max_examples=min(settings().max_examples, 400), stateful_step_count=40)
