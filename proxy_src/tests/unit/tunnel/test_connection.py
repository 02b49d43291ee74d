"""A connection from the connector as a whole: WebSocket, TLS and HTTP, without a network."""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import Callable
from typing import Any

import pytest
from fakes import Requests, deliver
from h2.connection import H2Connection
from h2.events import DataReceived
from mcp_proxy.config.model import Limits, Timeouts
from mcp_proxy.http.messages import ResponseHead
from mcp_proxy.system.rota import Rota
from mcp_proxy.system.turn import Turn
from mcp_proxy.tls.contexts import ServerTls, server_context
from mcp_proxy.tunnel.connection import SharedContext, TunnelConnection
from mcp_proxy.watch.metrics import Metrics
from pki import Authority
from running import DOMAIN
from tunnelled import get
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

FIELDS = [
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", f"echo.{DOMAIN}"),
    (":path", "/"),
]


@functools.cache
def pair() -> tuple[Authority, bytes, bytes]:
    authority = Authority()
    issued = authority.issue(f"*.{DOMAIN}")
    return authority, issued.cert, issued.key


class Transport(asyncio.Transport):
    """Gives everything that is written to the client."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = bytearray()
        self.closed = False

    def write(self, data: Any) -> None:
        self.sent += data

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is ever kept."""

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        """Do nothing: the proxy keeps the bytes that still come."""

    resume_reading = pause_reading

    def close(self) -> None:
        self.closed = True

    abort = close


class Tunnel:
    """A client with everything between it and the proxy's HTTP layer."""

    def __init__(self, *alpn: str, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> None:
        authority, cert, key = pair()
        self.requests = Requests()
        self.turn = Turn()
        # A busy machine would make heavy users of all peers, whose work is put off.
        self.turn.rota = Rota(lambda: 0.0)
        self.metrics = Metrics()
        forwarder: Any = type("Forwarder", (), {"exchange": lambda _, *a: self.requests(*a[:2])})()
        self.proxy = TunnelConnection(
            SharedContext(
                forwarder,
                ServerTls(server_context(cert, key)),
                self.metrics,
                Timeouts(),
                Limits(),
                lambda _: None,
                memoryview(bytearray(1 << 16)),
                self.turn,
            )
        )
        self.transport = Transport()
        self.proxy.connection_made(self.transport)
        self.controls: list[Opcode] = []
        self.frames: list[int] = []  # sizes of those with data
        self.got = b""
        self.ended = False
        self._ws = ClientProtocol(parse_uri("ws://proxy/"))
        self._ws.send_request(self._ws.connect())
        context = ssl.create_default_context(cadata=authority.cert.decode())
        context.maximum_version = newest
        context.set_alpn_protocols(list(alpn))
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out, server_hostname=f"echo.{DOMAIN}")

    async def open(self) -> None:
        await self.exchange()
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self.exchange()
        await self.exchange()

    async def exchange(self) -> None:
        """Give each side what the other has sent."""
        for _ in range(3):
            if data := self._out.read():
                self._ws.send_binary(data)
            deliver(self.proxy, b"".join(self._ws.data_to_send()))
            for _ in range(10):
                await asyncio.sleep(0)
            sent, self.transport.sent = bytes(self.transport.sent), bytearray()
            self._ws.receive_data(sent)
            for event in self._ws.events_received():
                if isinstance(event, Frame) and event.opcode is Opcode.BINARY:
                    self._in.write(event.data)
                    self.frames.append(len(event.data))
                elif isinstance(event, Frame):
                    self.controls.append(event.opcode)

    async def send(self, data: bytes) -> None:
        self.tls.write(data)
        await self.exchange()

    def leave(self) -> None:
        """Close the WebSocket."""
        self._ws.send_close(1000)

    def read(self) -> bytes:
        """All that has come so far; ``ended`` tells whether it ends with a close_notify."""
        try:
            while more := self.tls.read(1 << 16):
                self.got += more
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        return self.got

    def say_goodbye(self) -> None:
        """Send close_notify."""
        self.read()  # unwrap() would take data in between for an error
        with pytest.raises(ssl.SSLWantReadError):
            self.tls.unwrap()

    async def ticks(self, *seconds: float) -> None:
        now = asyncio.get_running_loop().time()
        for second in seconds:
            self.proxy.tick(now + second)
            await self.exchange()


def http2_get() -> bytes:
    h2 = H2Connection()
    h2.initiate_connection()
    h2.send_headers(1, FIELDS, end_stream=True)
    return h2.data_to_send() + b"\0\0\0\4\1\0\0\0\0"  # the proxy's settings are known, too


REQUESTS = {"http/1.1": get, "h2": http2_get}


@pytest.mark.parametrize(("alpn", "request_"), REQUESTS.items(), ids=list(REQUESTS))
async def test_a_quiet_request_is_accompanied_by_pings(
    alpn: str, request_: Callable[[], bytes]
) -> None:
    tunnel = Tunnel(alpn)
    await tunnel.open()
    await tunnel.send(request_())
    (handler,) = tunnel.requests
    await tunnel.ticks(0, 20)
    assert tunnel.controls == []
    await tunnel.ticks(35, 36, 70)
    assert tunnel.controls == [Opcode.PING, Opcode.PING]
    handler.reply(b"done")
    await tunnel.exchange()
    # No pings keep an unused connection open.
    await tunnel.ticks(100, 200, 300)
    assert tunnel.controls == [Opcode.PING, Opcode.PING]


async def test_a_stream_that_has_something_to_say_needs_no_ping() -> None:
    tunnel = Tunnel("http/1.1")
    await tunnel.open()
    await tunnel.send(get())
    stream = tunnel.requests[0].stream
    stream.send_interim(102, [])
    for second in range(0, 120, 20):
        stream.send_interim(102, [])
        await tunnel.exchange()
        await tunnel.ticks(second)
    assert tunnel.controls == []


def answered(tunnel: Tunnel, alpn: str) -> list[bytes]:
    """The contents of the responses that have come, in the order of their requests."""
    data = tunnel.read()
    if alpn == "h2":
        judge = H2Connection()
        judge.initiate_connection()
        for _ in range(3):
            judge.send_headers(judge.get_next_available_stream_id(), FIELDS, end_stream=True)
        events = judge.receive_data(data)
        return [event.data for event in events if isinstance(event, DataReceived)]
    found = []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        size = int(head.partition(b"Content-Length: ")[2].split()[0])
        found.append(data[:size])
        data = data[size:]
    return found


@pytest.mark.parametrize(("alpn", "request_"), REQUESTS.items(), ids=list(REQUESTS))
async def test_a_client_that_only_listens_is_answered(
    alpn: str, request_: Callable[[], bytes]
) -> None:
    tunnel = Tunnel(alpn)
    await tunnel.open()
    tunnel.tls.write(request_())
    tunnel.say_goodbye()
    await tunnel.exchange()
    (handler,) = tunnel.requests
    assert handler.trailers == []
    await tunnel.ticks(0, 20, 40, 60)  # it is still there
    assert not handler.gone
    handler.reply(b"here you are")
    await tunnel.exchange()
    assert answered(tunnel, alpn) == [b"here you are"]
    assert tunnel.controls == [Opcode.PING, Opcode.CLOSE]
    assert tunnel.ended


@pytest.mark.parametrize("alpn", REQUESTS)
async def test_what_was_complete_before_is_answered_and_the_rest_is_not(alpn: str) -> None:
    tunnel = Tunnel(alpn)
    await tunnel.open()
    if alpn == "h2":
        h2 = H2Connection()
        h2.initiate_connection()
        h2.send_headers(1, FIELDS, end_stream=True)
        h2.send_headers(3, [(":method", "POST"), *FIELDS[1:]])
        h2.send_headers(5, FIELDS)  # not begun before it is seen whether content comes
        tunnel.tls.write(h2.data_to_send())
    else:
        post = get("echo", "/", "Content-Length: 2").replace(b"GET", b"POST")
        tunnel.tls.write(get() + get() + post + b"x")
    tunnel.say_goodbye()
    await tunnel.exchange()
    tunnel.requests[0].reply(b"first")
    await tunnel.exchange()
    if alpn == "h2":
        assert [handler.gone for handler in tunnel.requests] == [False, True]
        assert answered(tunnel, alpn) == [b"first"]
    else:
        tunnel.requests[1].reply(b"second")
        await tunnel.exchange()
        assert [handler.gone for handler in tunnel.requests] == [False, False, True]
        assert answered(tunnel, alpn) == [b"first", b"second"]
    assert tunnel.controls == [Opcode.CLOSE]


@pytest.mark.parametrize("sent", [b"", get()[:-2], get("echo", "/", "Content-Length: 2")])
async def test_a_goodbye_without_a_whole_request_ends_the_connection(sent: bytes) -> None:
    tunnel = Tunnel("http/1.1")
    await tunnel.open()
    if sent:
        tunnel.tls.write(sent)
    tunnel.say_goodbye()
    await tunnel.exchange()
    assert all(handler.gone for handler in tunnel.requests)
    assert tunnel.controls == [Opcode.CLOSE]


async def test_a_goodbye_ends_a_tunnel() -> None:
    tunnel = Tunnel("http/1.1")
    await tunnel.open()
    await tunnel.send(get("echo", "/", "Connection: Upgrade", "Upgrade: websocket"))
    (handler,) = tunnel.requests
    handler.stream.send_head(ResponseHead(101, [], None))
    tunnel.say_goodbye()
    await tunnel.exchange()
    assert handler.gone


async def test_a_client_that_leaves_after_its_goodbye_is_noticed() -> None:
    tunnel = Tunnel("http/1.1")
    await tunnel.open()
    tunnel.tls.write(get())
    tunnel.say_goodbye()
    await tunnel.exchange()
    assert not tunnel.requests[0].gone
    tunnel.leave()
    await tunnel.exchange()
    assert tunnel.requests[0].gone


async def test_before_tls_13_a_goodbye_is_the_end() -> None:
    """RFC 5246 §7.2.1: close down at once, and discard what was to be written."""
    tunnel = Tunnel("http/1.1", newest=ssl.TLSVersion.TLSv1_2)
    await tunnel.open()
    tunnel.tls.write(get())
    tunnel.say_goodbye()
    await tunnel.exchange()
    assert tunnel.requests[0].gone


def failures(tunnel: Tunnel) -> dict[str, int]:
    """The handshakes that failed, by their reason."""
    samples = tunnel.metrics.snapshot()["mcp_proxy_tls_handshake_failures"]
    return {labels[0]: value for labels, value in samples if value}


def cut(tunnel: Tunnel) -> None:
    tunnel.proxy.cut()
    tunnel.proxy.cut()


def lose(tunnel: Tunnel) -> None:
    """As a client that goes without a word."""


def overdue(tunnel: Tunnel) -> None:
    now = asyncio.get_running_loop().time()
    for second in (20, 21, 60):
        tunnel.proxy.tick(now + second)


ENDS = {cut: "closed", lose: "closed", overdue: "timeout"}


@pytest.mark.parametrize(("end", "reason"), ENDS.items())
async def test_a_handshake_fails_once(end: Callable[[Tunnel], None], reason: str) -> None:
    tunnel = Tunnel("http/1.1")
    await tunnel.exchange()  # the opening handshake
    end(tunnel)
    tunnel.proxy.connection_lost(None)
    tunnel.proxy.cut()
    tunnel.proxy.drain()
    assert failures(tunnel) == {reason: 1}


@pytest.mark.parametrize("end", ENDS)
async def test_a_test_of_the_port_is_no_handshake(end: Callable[[Tunnel], None]) -> None:
    tunnel = Tunnel("http/1.1")
    end(tunnel)
    tunnel.proxy.connection_lost(None)
    assert failures(tunnel) == {}


@pytest.mark.parametrize("end", [cut, lose])
async def test_a_request_learns_that_its_connection_has_ended(
    end: Callable[[Tunnel], None],
) -> None:
    tunnel = Tunnel("http/1.1")
    await tunnel.open()
    await tunnel.send(get())
    (handler,) = tunnel.requests
    end(tunnel)
    tunnel.proxy.connection_lost(None)
    assert handler.gone
    assert failures(tunnel) == {}


async def test_long_content_is_handed_on_in_large_pieces() -> None:
    tunnel = Tunnel("http/1.1")
    await tunnel.open()
    content = bytes(range(256)) * 640
    head = b"POST / HTTP/1.1\r\nHost: echo.%b\r\nContent-Length: %d\r\n\r\n"
    await tunnel.send(head % (DOMAIN.encode(), len(content)))
    pieces: list[bytes] = []
    tunnel.requests[0].request_body = pieces.append
    await tunnel.send(content + get())
    assert b"".join(pieces) == content
    assert max(map(len, pieces)) > 16384, "more than a record of TLS"
    tunnel.requests[0].reply(b"first")
    await tunnel.exchange()
    assert len(tunnel.requests) == 2, "what follows the content is the next request"


async def test_a_long_answer_has_no_frame_for_a_remnant() -> None:
    tunnel = Tunnel("http/1.1")
    await tunnel.open()
    await tunnel.send(get())
    tunnel.frames.clear()
    tunnel.requests[0].reply(bytes(4 << 16))
    await tunnel.exchange()
    assert tunnel.read().endswith(bytes(4 << 16))
    assert len(tunnel.frames) == 5, "one for each 64 KiB, and one for the rest with the head"


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_session_ticket_goes_along_with_the_first_answer(newest: ssl.TLSVersion) -> None:
    tunnel = Tunnel("http/1.1", newest=newest)
    await tunnel.open()
    tunnel.read()
    frames, tunnel.frames[:] = len(tunnel.frames), []
    assert frames == (1 if newest is ssl.TLSVersion.TLSv1_3 else 2), "none for the ticket alone"
    await tunnel.send(get())
    tunnel.requests[0].reply(b"done")
    await tunnel.exchange()
    assert tunnel.read().endswith(b"done")
    assert tunnel.tls.session.has_ticket
    assert len(tunnel.frames) == 1


@pytest.mark.parametrize(
    ("alpn", "request_", "at_once"), [("http/1.1", get, True), ("h2", http2_get, False)]
)
async def test_content_leaves_with_its_read_where_no_other_stream_shares_the_record(
    alpn: str, request_: Callable[[], bytes], at_once: bool
) -> None:
    tunnel = Tunnel(alpn)
    await tunnel.open()
    await tunnel.send(request_())
    (handler,) = tunnel.requests
    handler.stream.send_head(ResponseHead(200, [], None))
    await tunnel.exchange()
    tunnel.turn.read_begins()
    handler.stream.send_body(b"an event")
    assert not tunnel.transport.sent
    tunnel.turn.read_ends()
    assert bool(tunnel.transport.sent) == at_once
    await tunnel.exchange()
    assert b"an event" in tunnel.read()
