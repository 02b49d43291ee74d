"""A connection gives its objects back when it ends, not when the garbage collector comes."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv4Network
from pathlib import Path

import pytest
import uvloop
from clients import UPGRADE, Client
from h2.connection import H2Connection
from h2.settings import SettingCodes
from mcp_proxy.config.model import Address, Config, Timeouts, Tls, Upstream, UpstreamPolicy
from mcp_proxy.tls.contexts import ServerTls, server_context
from mcp_proxy.tunnel.server import ProxyServer
from mcp_proxy.watch.metrics import Metrics
from pki import Authority
from running import DOMAIN
from tunnelled import get
from upstreams import plain_answer, raw_upstream, read_head

TIMES = 5
OURS = ("mcp_proxy", "ssl", "httptools", "websockets")
UPSTREAMS_TLS: list[ssl.SSLContext] = []
UPGRADE_INSIDE = get("echo", "/socket", "Connection: Upgrade", "Upgrade: websocket")


class Way:
    """The way to the server: its port, and the CA that its clients trust."""

    def __init__(self, port: int, authority: Authority) -> None:
        self.port = port
        self.context = ssl.create_default_context(cadata=authority.cert.decode())

    def client(self, *alpn: str) -> Client:
        """A client that has completed its handshakes."""
        client = Client(self.port)
        client.open_websocket()
        self.context.set_alpn_protocols(list(alpn))
        client.open_tls(self.context)
        return client


def fields(path: str, method: str = "GET", host: str = "echo") -> list[tuple[str, str]]:
    return [
        (":method", method),
        (":scheme", "https"),
        (":authority", f"{host}.{DOMAIN}"),
        (":path", path),
    ]


def http2(way: Way, *requests: list[tuple[str, str]], window: int = 65535) -> Client:
    """A client with these *requests* under way, of which the POST ones do not end."""
    client = way.client("h2")
    h2 = H2Connection()
    h2.initiate_connection()
    h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window})
    for index, request in enumerate(requests):
        h2.send_headers(2 * index + 1, request, end_stream=request[0][1] == "GET")
    client.send(h2.data_to_send())
    client.read()
    return client


def answered(way: Way) -> None:
    client = way.client()
    client.send(get())
    assert client.read().startswith(b"HTTP/1.1 200")
    client.close()


def in_the_middle_of_an_answer(way: Way) -> None:
    client = way.client()
    client.send(get("echo", "/endless"))
    client.read()
    client.close()


def in_the_middle_of_a_request(way: Way) -> None:
    client = way.client()
    client.send(get("echo", "/", "Content-Length: 100")[:-4])
    client.close()


def in_the_middle_of_an_upload(way: Way) -> None:
    client = way.client()
    client.send(get("echo", "/silent", "Content-Length: 100") + b"x")
    client.close()


def in_a_pipeline(way: Way) -> None:
    client = way.client()
    client.send(get("echo", "/silent") * 5)
    client.close()


def in_a_tunnel(way: Way) -> None:
    client = way.client()
    client.send(UPGRADE_INSIDE)
    assert client.read().startswith(b"HTTP/1.1 101")
    client.close()


def many_streams_unread(way: Way) -> None:
    client = http2(way, *[fields("/endless")] * 100, window=10)
    client.read()
    client.close()


def streams_of_all_kinds(way: Way) -> None:
    """Silent, answered before their end, refused, cut short by the upstream, without a route."""
    kinds = ["/silent", "/", "/broken", "/interim"]
    requests = [fields(path, method) for path in kinds for method in ("GET", "POST")]
    http2(way, *requests, fields("/", "GET", "nowhere"), fields("/", "GET", "refused")).close()


def floods(way: Way) -> None:
    client = http2(way, fields("/silent"))
    client.send(b"\0\0\x08\x06\0\0\0\0\0" + bytes(8) + b"\0\0\0\xaa\0\0\0\0\0" * 2000)
    client.read()
    client.close()


def nobody_listens_upstream(way: Way) -> None:
    client = way.client()
    client.send(get("refused"))
    assert client.read().startswith(b"HTTP/1.1 502")
    client.close()


def over_tls(way: Way) -> None:
    client = way.client()
    client.send(get("secure"))
    assert client.read().startswith(b"HTTP/1.1 200")
    client.close()


def in_the_middle_of_an_answer_over_tls(way: Way) -> None:
    client = way.client()
    client.send(get("secure", "/endless"))
    client.read()
    client.close()


def an_upstream_that_cannot_be_trusted(way: Way) -> None:
    client = way.client()
    client.send(get("untrusted"))
    assert client.read().startswith(b"HTTP/1.1 502")
    client.close()


def no_name_upstream(way: Way) -> None:
    client = way.client()
    client.send(get("forbidden"))
    assert client.read().startswith(b"HTTP/1.1 502")
    client.close()


def one_of_two_addresses(way: Way) -> None:
    client = way.client()
    client.send(get("either"))
    assert client.read().startswith(b"HTTP/1.1 200")
    client.close()


def none_of_two_addresses(way: Way) -> None:
    client = way.client()
    client.send(get("neither"))
    assert client.read().startswith(b"HTTP/1.1 502")
    client.close()


def no_http_upstream(way: Way) -> None:
    client = way.client()
    client.send(get("echo", "/garbage"))
    assert client.read().startswith(b"HTTP/1.1 502")
    client.close()


def bad_requests(way: Way) -> None:
    client = way.client()
    client.send(get("echo", "/silent", "Transfer-Encoding: chunked") + b"zz\r\n")
    client.read()
    client.close()


def no_tls(way: Way) -> None:
    client = Client(way.port)
    client.open_websocket()
    client.socket.sendall(b"\x82\x8bmask" + bytes(11))
    client.socket.recv(1000)
    client.close()


def no_websocket(way: Way) -> None:
    client = Client(way.port)
    client.socket.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    client.socket.recv(1000)
    client.close()


def half_a_handshake(way: Way) -> None:
    client = Client(way.port)
    client.socket.sendall(UPGRADE[:-10])
    client.close()


ENDS = (
    answered,
    in_the_middle_of_an_answer,
    in_the_middle_of_a_request,
    in_the_middle_of_an_upload,
    in_a_pipeline,
    in_a_tunnel,
    many_streams_unread,
    streams_of_all_kinds,
    floods,
    nobody_listens_upstream,
    over_tls,
    in_the_middle_of_an_answer_over_tls,
    an_upstream_that_cannot_be_trusted,
    no_name_upstream,
    one_of_two_addresses,
    none_of_two_addresses,
    no_http_upstream,
    bad_requests,
    no_tls,
    no_websocket,
    half_a_handshake,
)


async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        line, _ = await read_head(reader)
        path = line.split()[1]
        if path == "/":
            writer.write(plain_answer(b"ok"))
        elif path == "/silent":
            await reader.read()
            return
        elif path == "/garbage":
            writer.write(b"garbage\r\n\r\n")
        elif path == "/broken":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx")
            return
        elif path == "/interim":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)
            await reader.read()
        elif path == "/socket":
            writer.write(
                b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhi"
            )
            await reader.read()
            return
        else:
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                writer.write(bytes(1 << 16))
                await writer.drain()
                await asyncio.sleep(0)  # TLS of a loop may take all for a connection that is lost


def foreign(item: object) -> bool:
    """Whether it belongs to the TLS of the upstream, which is in this very process."""
    if isinstance(item, ssl.SSLError):
        return "ALERT" in (item.reason or "")
    return isinstance(item, ssl.SSLObject) and item.context in UPSTREAMS_TLS


def living() -> Counter[str]:
    """Count the living objects of the proxy, and those that it uses, by class."""
    kinds = Counter(type(item) for item in gc.get_objects() if not foreign(item))
    return Counter(
        {
            f"{kind.__module__}.{kind.__qualname__}": count
            for kind, count in kinds.items()
            if str(kind.__module__).startswith(OURS)
        }
    )


def _tls(files: tuple[str, str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    UPSTREAMS_TLS.append(context)
    return context


async def serving(home: Path, use: Callable[[ProxyServer, Way], object]) -> None:
    authority = Authority()
    cert, key = (Path(path) for path in authority.issue(f"*.{DOMAIN}").write(home))
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        tls_port_of = raw_upstream(upstream, _tls(authority.issue("localhost").write(home / "up")))
        (home / "ca.crt").write_bytes(authority.cert)
        async with raw_upstream(upstream) as port, tls_port_of as tls_port:
            config = Config(
                listen=Address("127.0.0.1", 0),
                tls=Tls("", ""),
                tunnel_domain=DOMAIN,
                routes={
                    "echo": Upstream("http", "127.0.0.1", port),
                    "secure": Upstream("https", "localhost", tls_port),
                    "untrusted": Upstream("https", "127.0.0.1", tls_port),
                    "refused": Upstream("http", "127.0.0.1", nobody.getsockname()[1]),
                    "either": Upstream("http", "two.lan", port),
                    "neither": Upstream("http", "two.lan", nobody.getsockname()[1]),
                    "forbidden": Upstream("http", "192.0.2.1", 80),
                },
                upstream=UpstreamPolicy(
                    allowed_ips=(IPv4Network("127.0.0.0/8"),), ca_file=str(home / "ca.crt")
                ),
                timeouts=Timeouts(upstream_idle=0.05),
            )
            tls = ServerTls(server_context(cert.read_bytes(), key.read_bytes()))
            server = ProxyServer(config, Metrics(), tls)
            await server.start([socket.create_server(("127.0.0.1", 0))], backlog=128)
            try:
                await use(server, Way(server.addresses[0][1], authority))  # type: ignore[misc]
            finally:
                server.stop_accepting()
                await server.drain(0)


@pytest.fixture(autouse=True)
def _two_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """``two.lan`` has two addresses; the upstreams listen on the second one."""
    real = socket.getaddrinfo

    def getaddrinfo(host: str, *args: object, **options: object) -> list[object]:
        if host != "two.lan":
            return real(host, *args, **options)  # type: ignore[arg-type,return-value]
        return [(2, 1, 6, "", (address, 0)) for address in ("127.0.0.2", "127.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
@pytest.mark.parametrize("run", [uvloop.run, asyncio.run], ids=["uvloop", "asyncio"])
def test_all_is_freed_when_a_connection_ends(
    tmp_path: Path, run: Callable[[object], object], end: Callable[[Way], None]
) -> None:
    async def use(server: ProxyServer, way: Way) -> None:
        async def leave(times: int) -> None:
            for _ in range(times):
                await asyncio.to_thread(end, way)
            # All of it has been noticed, and the pool is empty, before the proxy cuts anybody.
            for _ in range(400):
                await asyncio.sleep(0.01)
                if not server._connections and not any(
                    reserve.idle for reserve in server._pool._reserves.values()
                ):
                    break

        await leave(1)  # one-time allocations
        gc.collect()
        gc.disable()
        try:
            before = living()
            await leave(TIMES)
            assert not server._connections
            for _ in range(40):  # a busy machine makes few turns of the loop in a second
                await asyncio.sleep(0.05)
                # The client's side runs in this process, too: its objects do not count.
                found = (living() - before).items()
                more = {name: count for name, count in found if count >= TIMES}
                if not more:
                    break
            assert more == {}
        finally:
            gc.enable()

    run(serving(tmp_path, use))
