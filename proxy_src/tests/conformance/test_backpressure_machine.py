"""An exchange whose sides take and give as they like: nothing is lost, hoarded or stuck."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import h11
import hypothesis.strategies as st
import mcp_proxy.http1.server
import mcp_proxy.http2.server
import pytest
from fakes import FakeConnection, deliver
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, StreamEnded
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from mcp_proxy.config.model import Limits, Upstream
from mcp_proxy.http.messages import ClientStream, RequestHead
from mcp_proxy.http1.server import Http1Server
from mcp_proxy.http2.server import Http2Server
from mcp_proxy.system.turn import Turn
from mcp_proxy.upstream.exchange import Exchange, Forwarder
from mcp_proxy.upstream.pool import UpstreamConnection, UpstreamPool
from mcp_proxy.upstream.router import Router
from mcp_proxy.watch.access_log import AccessLog
from mcp_proxy.watch.metrics import Metrics
from wire import read_requests

HIGH, LOW = 1 << 14, 1 << 12
"""Bytes in a transport at which it says stop, and at which it says go: small, to be quick."""
MOST = 1 << 13
"""Bytes that come in one read."""
WINDOW = 1 << 18
"""Bytes of a request that an HTTP/2 client may send ahead of the upstream."""
UPSTREAM = Upstream("http", "u", 80)
SIZES = st.sampled_from((1, 100, 3000, MOST))


def numbered(start: int, size: int) -> bytes:
    """*size* bytes that are recognizable as those from *start* on."""
    block = b"".join(b"%07d," % number for number in range(start // 8, (start + size) // 8 + 1))
    return block[start % 8 : start % 8 + size]


NOWHERE = os.open(os.devnull, os.O_RDONLY)


class Pipe(asyncio.Transport):
    """A transport with a buffer that its peer empties as it likes."""

    def __init__(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        super().__init__()
        self._say_stop, self._say_go = pause, resume
        self.buffer = bytearray()
        self.taken = bytearray()
        self.stopped = False
        self.reading = True
        self.closed = False

    def write(self, data: Any) -> None:
        self.buffer += data
        if len(self.buffer) > HIGH and not self.stopped:
            self.stopped = True
            self._say_stop()

    def take(self, size: int) -> None:
        self.taken += self.buffer[:size]
        del self.buffer[:size]
        if len(self.buffer) <= LOW and self.stopped:
            self.stopped = False
            self._say_go()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        # As over TLS, so that all data goes through the transport: NOWHERE takes none.
        return self if name in ("socket", "ssl_object") else default

    def fileno(self) -> int:
        return NOWHERE

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Ignore the limits: those above hold."""

    def get_write_buffer_size(self) -> int:
        return len(self.buffer)

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def abort(self) -> None:
        self.closed = True


class Http1Client:
    """Sends chunks as it likes, reads with h11."""

    def __init__(self) -> None:
        self.first = (
            b"POST / HTTP/1.1\r\nHost: echo.t.example\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        self._h11 = h11.Connection(h11.CLIENT)
        self._h11.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
        self._h11.send(h11.EndOfMessage())
        self.body = bytearray()
        self.ended = False

    def window(self) -> int:
        return MOST

    def content(self, data: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(data), data)

    def end(self) -> bytes:
        return b"0\r\n\r\n"

    def receive(self, data: bytes) -> bytes:
        if data:  # nothing would mean the end of the connection
            self._h11.receive_data(data)
        while not isinstance(event := self._h11.next_event(), type(h11.NEED_DATA)):
            if isinstance(event, h11.Data):
                self.body += event.data
            elif isinstance(event, h11.EndOfMessage):
                self.ended = True
                break
        return b""


class Http2Client:
    """Sends and reads with h2, as far as the windows go."""

    def __init__(self) -> None:
        self._h2 = H2Connection(H2Configuration(header_encoding="utf-8"))
        self._h2.initiate_connection()
        head = {":method": "POST", ":scheme": "https", ":authority": "echo.t.example", ":path": "/"}
        self._h2.send_headers(1, list(head.items()))
        self.first = self._h2.data_to_send()
        self.body = bytearray()
        self.ended = False

    def window(self) -> int:
        return self._h2.local_flow_control_window(1)

    def content(self, data: bytes) -> bytes:
        for at in range(0, len(data), 16384):
            self._h2.send_data(1, data[at : at + 16384])
        return self._h2.data_to_send()

    def end(self) -> bytes:
        self._h2.end_stream(1)
        return self._h2.data_to_send()

    def receive(self, data: bytes) -> bytes:
        for event in self._h2.receive_data(data):
            if isinstance(event, DataReceived):
                self.body += event.data
                self._h2.acknowledge_received_data(event.flow_controlled_length, 1)
            elif isinstance(event, StreamEnded):
                self.ended = True
        return self._h2.data_to_send()


class Dialer:
    """Connects to the machine's upstream."""

    def __init__(self, machine: ExchangeMachine) -> None:
        self._machine = machine

    async def connect(
        self, upstream: Upstream, factory: Callable[[str], UpstreamConnection]
    ) -> UpstreamConnection:
        return await self._machine.dialled(factory)


class ExchangeMachine(RuleBasedStateMachine):
    """One POST up and its answer down, at the same time."""

    @initialize(version=st.sampled_from(("1.1", "2")))
    def begin(self, version: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.errors: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.errors.append(context))
        self.uploaded = self.downloaded = 0
        self.upload_over = self.answer_begun = self.answer_over = False
        self.unsent = b""  # of the client, while the proxy takes nothing
        self.client = Http1Client() if version == "1.1" else Http2Client()
        self.do(self.connect)
        self.give(self.client.first)

    async def connect(self) -> None:
        pool = UpstreamPool(Dialer(self), 60, Turn())  # type: ignore[arg-type]
        router = Router({"echo": UPSTREAM}, "t.example")
        forwarder = Forwarder(router, pool, Metrics(), AccessLog(False), 60.0)

        def ask(head: RequestHead, stream: ClientStream) -> Exchange:
            return forwarder.exchange(head, stream, "127.0.0.1")

        if isinstance(self.client, Http1Client):
            self.server: Any = Http1Server(ask, FakeConnection(), Limits())
        else:
            self.server = Http2Server(ask, FakeConnection(), Limits(), 60.0)
        self.down = Pipe(self.server.pause_output, self.server.resume_output)

    async def dialled(self, factory: Callable[[str], UpstreamConnection]) -> UpstreamConnection:
        self.protocol = factory("10.0.0.1")
        self.up = Pipe(self.protocol.pause_writing, self.protocol.resume_writing)
        self.protocol.connection_made(self.up)
        return self.protocol

    def do(self, action: Callable[[], Any]) -> None:
        """Run *action* in the event loop, with its consequences, and send what is to be sent."""

        async def act() -> None:
            result = action()
            if asyncio.iscoroutine(result):
                await result
            for _ in range(6):
                await asyncio.sleep(0)
                if hasattr(self, "down") and (data := b"".join(self.server.output())):
                    self.down.write(data)

        self.loop.run_until_complete(act())

    def give(self, data: bytes) -> None:
        """The client has sent *data*; the proxy takes it when it wants to."""
        self.unsent += data
        while self.unsent and self.server.wants_input:
            part, self.unsent = self.unsent[:16384], self.unsent[16384:]
            self.do(lambda part=part: self.server.receive(part))

    # -- events --------------------------------------------------------------------------------

    @precondition(lambda self: not self.upload_over and not self.unsent)
    @rule(size=SIZES)
    def client_sends(self, size: int) -> None:
        size = min(size, self.client.window())
        if size > 0:
            data = numbered(self.uploaded, size)
            self.uploaded += size
            self.give(self.client.content(data))

    @precondition(lambda self: not self.upload_over and not self.unsent)
    @rule()
    def client_ends(self) -> None:
        self.upload_over = True
        self.give(self.client.end())

    @rule(size=SIZES)
    def client_takes(self, size: int) -> None:
        before = len(self.down.taken)
        self.do(lambda: self.down.take(size))
        self.give(self.client.receive(bytes(self.down.taken[before:])))

    @rule(size=SIZES)
    def upstream_takes(self, size: int) -> None:
        self.do(lambda: self.up.take(size))
        self.give(b"")

    @precondition(lambda self: self.up.reading and not self.answer_over)
    @rule(size=SIZES)
    def upstream_sends(self, size: int) -> None:
        data = b"%x\r\n%b\r\n" % (size, numbered(self.downloaded, size))
        self.downloaded += size
        if not self.answer_begun:
            self.answer_begun = True
            data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + data
        self.do(lambda: deliver(self.protocol, data))

    # -- invariants ----------------------------------------------------------------------------

    @invariant()
    def nothing_is_hoarded(self) -> None:
        ahead = WINDOW if isinstance(self.client, Http2Client) else 2 * MOST
        assert len(self.up.buffer) <= HIGH + ahead + 4096
        assert len(self.down.buffer) <= HIGH + 4 * MOST
        assert not self.errors

    @invariant()
    def who_is_full_is_given_no_more(self) -> None:
        if self.down.stopped and self.answer_begun:
            assert not self.up.reading
        if self.up.stopped and not self.upload_over:
            # HTTP/1.1 stops reading; HTTP/2 does not open the window again.
            assert not self.server.wants_input or isinstance(self.client, Http2Client)

    def teardown(self) -> None:
        """Let all sides go on to the end: everything arrives."""
        if not self.upload_over:
            self.client_ends()
        for _ in range(200):
            self.upstream_takes(1 << 24)
            self.client_takes(1 << 24)
            if self.up.taken.endswith(b"0\r\n\r\n") and self.up.reading and not self.answer_over:
                self.answer_over = True
                last = b"0\r\n\r\n"
                if not self.answer_begun:
                    last = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + last
                self.do(lambda last=last: deliver(self.protocol, last))
            if self.client.ended:
                break
        assert self.client.ended, "stuck"
        assert bytes(self.client.body) == numbered(0, self.downloaded)
        (request,) = read_requests(bytes(self.up.taken))
        assert request.body == numbered(0, self.uploaded)
        assert not self.errors
        self.loop.close()


@pytest.fixture(autouse=True)
def _small_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    for layer in (mcp_proxy.http1.server, mcp_proxy.http2.server):
        monkeypatch.setattr(layer, "_HIGH_WATER", LOW)


TestExchange = ExchangeMachine.TestCase
# Examples are long: the profile "explore" gets only as many of its many as fit into the limit.
TestExchange.settings = settings(
    max_examples=min(settings().max_examples, 400), stateful_step_count=50
)
