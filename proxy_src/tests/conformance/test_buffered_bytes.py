"""Many clients that stop reading, many upstreams that do: the bytes in the proxy are counted.

Everything between the two sockets of a request is the proxy's own; the sockets are pipes whose
peers take as much as the test says. All bytes that went in and did not come out count, wherever
the proxy keeps them.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from fakes import deliver
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, StreamEnded
from h2.settings import SettingCodes
from mcp_proxy.config.model import Limits, Timeouts, Upstream
from mcp_proxy.system.budget import Budget
from mcp_proxy.system.rota import Rota
from mcp_proxy.system.turn import Turn
from mcp_proxy.tls.contexts import ServerTls, server_context
from mcp_proxy.tunnel.connection import SharedContext, TunnelConnection
from mcp_proxy.tunnel.inner_tls import InnerTls
from mcp_proxy.upstream.exchange import Forwarder
from mcp_proxy.upstream.pool import UpstreamConnection, UpstreamPool
from mcp_proxy.upstream.router import Router
from mcp_proxy.watch.access_log import AccessLog
from mcp_proxy.watch.metrics import Metrics
from pki import Authority
from running import DOMAIN
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

PLENTY, MOST = 1 << 20, 1 << 21
"""Bytes that may wait in the proxy under test: few, so that few clients can fill it."""
TURN = 1 << 18
"""Bytes that come in one turn of the loop at most, before anything can be noticed."""
CLIENTS, STREAMS = 16, 12
WIDE = (1 << 31) - 1
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
NOWHERE = os.open(os.devnull, os.O_RDONLY)


class Pipe(asyncio.Transport):
    """A transport whose peer takes nothing but by :meth:`take`."""

    def __init__(self, protocol: Any) -> None:
        super().__init__()
        self._protocol = protocol
        self._high, self._low = 1 << 16, 1 << 14
        self.buffer = bytearray()
        self.stopped = self.closed = False
        self.reading = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high is not None
        self._high, self._low = high, high // 4 if low is None else low
        self._stop_or_go()

    def write(self, data: Any) -> None:
        if not self.closed:
            self.buffer += data
            self._stop_or_go()

    def take(self, but: int = 0) -> bytes:
        """Everything that the proxy has written, *but* so many bytes."""
        size = len(self.buffer) - but
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        self._stop_or_go()
        return data

    def _stop_or_go(self) -> None:
        if len(self.buffer) > self._high and not self.stopped:
            self.stopped = True
            self._protocol.pause_writing()
        elif len(self.buffer) <= self._low and self.stopped:
            self.stopped = False
            self._protocol.resume_writing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        # As over TLS, so that all data goes through the transport: NOWHERE takes none.
        return {"socket": self, "ssl_object": self, "peername": ("127.0.0.1", 1)}.get(name, default)

    def fileno(self) -> int:
        return NOWHERE

    def get_write_buffer_size(self) -> int:
        return len(self.buffer)

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def abort(self) -> None:
        if not self.closed:
            self.closed = True
            self.buffer.clear()
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    close = abort


class Proxy:
    """The data path of a worker, and upstreams at pipes."""

    def __init__(self, home: Path) -> None:
        authority = Authority()
        issued = authority.issue(f"*.{DOMAIN}")
        cert, key = (Path(path) for path in issued.write(home))
        self.ca = authority.cert.decode()
        self.turn = Turn()
        # A busy machine would make heavy users of all peers, whose work is put off.
        self.turn.rota = Rota(lambda: 0.0)
        self.turn.budget = Budget(PLENTY, MOST)
        self.upstreams: list[tuple[UpstreamConnection, Pipe]] = []
        pool = UpstreamPool(self, 60, self.turn)  # type: ignore[arg-type]
        router = Router({"echo": Upstream("http", "u", 80)}, DOMAIN)
        metrics = Metrics()
        self.shared = SharedContext(
            Forwarder(router, pool, metrics, AccessLog(False), 60.0),
            ServerTls(server_context(cert.read_bytes(), key.read_bytes())),
            metrics,
            Timeouts(),
            Limits(),
            lambda _: None,
            memoryview(bytearray(1 << 16)),
            self.turn,
        )

    async def connect(
        self, upstream: Upstream, factory: Callable[[str], UpstreamConnection]
    ) -> UpstreamConnection:
        """As :class:`upstream.dial.Dialer`."""
        connection = factory("192.0.2.1")
        pipe = Pipe(connection)
        connection.connection_made(pipe)
        self.upstreams.append((connection, pipe))
        return connection


async def turns() -> None:
    for _ in range(12):
        await asyncio.sleep(0)


class Client:
    """A client of the tunnel that speaks HTTP/2, and reads only by :meth:`read`."""

    def __init__(self, proxy: Proxy, window: int) -> None:
        self._connection = TunnelConnection(proxy.shared)
        self.pipe = Pipe(self._connection)
        self._connection.connection_made(self.pipe)
        self._ws = ClientProtocol(parse_uri("ws://proxy/"))
        self._ws.send_request(self._ws.connect())
        context = ssl.create_default_context(cadata=proxy.ca)
        context.set_alpn_protocols(["h2"])
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=f"echo.{DOMAIN}")
        self.h2 = H2Connection(H2Configuration(header_encoding="utf-8"))
        self.h2.local_settings[SettingCodes.INITIAL_WINDOW_SIZE] = window
        self.h2.initiate_connection()
        if window > 65535:
            self.h2.increment_flow_control_window(window - 65535)
        self.got = 0
        self.ended = 0

    async def open(self) -> None:
        await self._send_raw()
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self._send_raw()
        await self.send()

    async def _send_raw(self) -> None:
        if data := self._out.read():
            self._ws.send_binary(data)
        deliver(self._connection, b"".join(self._ws.data_to_send()))
        await turns()
        self._take()

    def _take(self) -> None:
        self._ws.receive_data(self.pipe.take())
        for event in self._ws.events_received():
            if isinstance(event, Frame) and event.opcode is Opcode.BINARY:
                self._in.write(event.data)

    async def send(self) -> None:
        """Send what the HTTP/2 layer has to say."""
        data = self.h2.data_to_send()
        if data and not self.pipe.closed:
            self._tls.write(data)
            self._ws.send_binary(self._out.read())
            for part in self._ws.data_to_send():
                deliver(self._connection, part)
            await turns()

    async def read(self) -> None:
        """Take all that has come, and ask for more."""
        self._take()
        while True:
            try:
                data = self._tls.read(1 << 16)
            except ssl.SSLWantReadError:
                break
            for event in self.h2.receive_data(data):
                if isinstance(event, DataReceived):
                    self.got += len(event.data)
                    size, number = event.flow_controlled_length, event.stream_id
                    self.h2.acknowledge_received_data(size, number)
                elif isinstance(event, StreamEnded):
                    self.ended += 1
        await self.send()

    def ask(self, number: int, method: str, more: Sequence[tuple[str, str]] = ()) -> None:
        head = {":method": method, ":scheme": "https", ":path": "/"}
        head[":authority"] = f"echo.{DOMAIN}"
        self.h2.send_headers(number, [*head.items(), *more], end_stream=method == "GET")

    def leave(self) -> None:
        self.pipe.abort()


@pytest_asyncio.fixture
async def proxy(tmp_path: Path) -> AsyncIterator[Proxy]:
    here = Proxy(tmp_path)
    errors: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    yield here
    await turns()
    assert errors == []


async def opened(proxy: Proxy, window: int, method: str) -> list[Client]:
    clients = [Client(proxy, window) for _ in range(CLIENTS)]
    for client in clients:
        await client.open()
        for number in range(STREAMS):
            client.ask(2 * number + 1, method)
        await client.send()
    assert len(proxy.upstreams) == CLIENTS * STREAMS
    return clients


async def polite_client_is_served(proxy: Proxy) -> None:
    """Another client gets a whole answer meanwhile, larger than any buffer."""
    size, polite = 1 << 18, Client(proxy, 65535)
    await polite.open()
    polite.ask(1, "GET")
    await polite.send()
    connection, pipe = proxy.upstreams[-1]
    data = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (size, bytes(size))
    for _ in range(400):
        if pipe.reading and data:
            part, data = data[: 1 << 13], data[1 << 13 :]
            deliver(connection, part)
        await turns()
        await polite.read()
        if polite.ended:
            break
    assert (polite.got, polite.ended) == (size, 1)
    polite.leave()


class Given:
    """The content that upstreams have sent, by the client that it is for."""

    def __init__(self, proxy: Proxy, clients: list[Client]) -> None:
        self.upstreams = proxy.upstreams[:]
        self._clients = clients
        self._sizes = [0] * len(clients)

    async def give(self, place: int, most: int = 1 << 30) -> bool:
        """Send as much as is read at a time; return whether anything is read."""
        connection, pipe = self.upstreams[place]
        if not pipe.reading or pipe.closed:
            return False
        size = min(len(connection.get_buffer(-1)) - 12, most)
        deliver(connection, b"%x\r\n%b\r\n" % (size, bytes(size)))
        self._sizes[place // STREAMS] += size
        await turns()
        return True

    def held(self) -> int:
        """The bytes that have not come out; those for clients that were cut are gone."""
        pairs = zip(self._sizes, self._clients)
        return sum(size - client.got for size, client in pairs if not client.pipe.closed)


@pytest.mark.parametrize("window", [65535, WIDE], ids=["narrow", "wide"])
async def test_clients_that_stop_reading(proxy: Proxy, window: int) -> None:
    """In the middle of large answers, whose first bytes they have taken."""
    clients = await opened(proxy, window, "GET")
    given = Given(proxy, clients)
    for place, (connection, _) in enumerate(given.upstreams):
        deliver(connection, HEAD)
        await given.give(place, 1000)
    for client in clients:
        await client.read()
        assert client.got == STREAMS * 1000
    most = whole = 0
    moved = True
    while moved:
        moved = False
        for place in range(len(given.upstreams)):
            moved = await given.give(place) or moved
            whole += 1
            assert whole < 20_000, "somebody is never held back"
            most = max(most, given.held())
    assert PLENTY < most <= MOST + TURN
    await polite_client_is_served(proxy)
    for client in clients:
        client.leave()
    await turns()
    assert proxy.turn.budget.held == 0


async def test_a_write_counts_until_its_last_byte_has_left(proxy: Proxy) -> None:
    """The transport keeps it whole: clients that leave one byte of each would hold all of them."""
    client = Client(proxy, WIDE)
    await client.open()
    client.ask(1, "GET")
    await client.send()
    (connection, pipe) = proxy.upstreams[0]
    pipe.take()
    deliver(connection, b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + bytes(40_000))
    await turns()
    written = len(client.pipe.buffer)
    assert proxy.turn.budget.held >= written > 5_000
    client.pipe.take(but=1)
    proxy.turn.budget.refresh()
    assert proxy.turn.budget.held > 5_000
    client.pipe.take()
    proxy.turn.budget.refresh()
    assert proxy.turn.budget.held == 0
    client.leave()


async def test_heads_of_requests_in_flight_count(proxy: Proxy) -> None:
    """Their upstreams have taken them, and do not answer."""
    client = Client(proxy, WIDE)
    await client.open()
    for number in (1, 3, 5):
        client.ask(number, "GET", [("x-large", "z" * 10_000)])
    await client.send()
    for _, pipe in proxy.upstreams:
        assert b"z" * 10_000 in pipe.take()
    proxy.turn.budget.refresh()
    assert 30_000 <= proxy.turn.budget.held < 32_000
    client.leave()
    await turns()
    assert proxy.turn.budget.held == 0


@pytest.mark.pure("replaces a method of InnerTls, which compiled code calls without a look-up")
async def test_what_is_encrypted_in_one_go(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenSSL keeps a buffer of the largest size that was ever in it, for each connection."""
    sizes = []
    real = InnerTls.write

    def write(tls: InnerTls, data: bytes | memoryview) -> None:
        real(tls, data)
        sizes.append(tls.unsent)

    monkeypatch.setattr(InnerTls, "write", write)
    client = Client(proxy, WIDE)
    await client.open()
    for number in range(STREAMS):
        client.ask(2 * number + 1, "GET")
    await client.send()
    body = bytes(50_000)
    for connection, _ in proxy.upstreams:
        deliver(connection, b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n" + body)
    for _ in range(200):  # on a slow machine, those that took long have to wait for their turn
        await turns()
        await client.read()
        if client.got == STREAMS * 50_000:
            break
    assert client.got == STREAMS * 50_000
    assert max(sizes) < (1 << 16) + 2000
    client.leave()


async def test_upstreams_that_stop_reading(proxy: Proxy) -> None:
    """Uploads that nobody takes, as many bytes of each as its window allows."""
    clients = await opened(proxy, 65535, "POST")
    uploads = [Upload(client, number) for client in clients for number in range(1, 2 * STREAMS, 2)]
    for upload, (_, pipe) in zip(uploads, proxy.upstreams):
        upload.upstream = pipe
    most = 0
    for upload in sorted(uploads, key=lambda item: item.number):
        while await upload.send():
            most = max(most, sum(one.held() for one in uploads))
    assert PLENTY < most <= MOST + TURN
    await polite_client_is_served(proxy)
    for client in clients:
        client.leave()
    for _, pipe in proxy.upstreams:
        pipe.abort()
    await turns()
    assert proxy.turn.budget.held == 0


class Upload:
    """The content of a request, of which the upstream takes nothing."""

    upstream: Pipe

    def __init__(self, client: Client, number: int) -> None:
        self._client = client
        self.number = number
        self._sent = 0

    async def send(self) -> bool:
        """Send as much as goes into a frame; return whether anything could be sent."""
        if not self._goes_on() or not self._client.pipe.reading:
            return False
        size = min(self._client.h2.local_flow_control_window(self.number), 1 << 14)
        if size <= 0:
            return False
        self._client.h2.send_data(self.number, bytes(size))
        self._sent += size
        await self._client.send()
        await self._client.read()
        return True

    def _goes_on(self) -> bool:
        return not (self.upstream.closed or self._client.pipe.closed)

    def held(self) -> int:
        """The bytes that are in the proxy; those of an upload that was cut are gone."""
        return self._sent if self._goes_on() else 0
