"""Options of a route in a running proxy: which requests they refuse, and which they do not."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from running import DOMAIN, PATIENCE, RunningProxy, proxied, running_proxy
from test_upstreams import deaf_port
from test_websocket_upstreams import echo_server, opened
from tunnelled import VERSIONS, answer, client, curl, get, raw_client
from upstreams import plain_answer, raw_upstream, read_head
from websockets.exceptions import InvalidStatus

__all__ = ["deaf_port"]  # a fixture

AWAY = '503 mcp-proxy; error=destination_unavailable; details="maintenance"'
URL = f"https://echo.{DOMAIN}/"
SHOWN = "%{http_code} %header{proxy-status} %header{retry-after}%header{allow}"


async def told(proxy: RunningProxy, *more: str, url: str = "echo/", version: str = "1.1") -> str:
    """The status of an answer, and the fields that say why."""
    return (await curl(proxy, url, "-o", os.devnull, "-w", SHOWN, *more, version=version)).strip()


def denied(status: int, option: str, more: str = "") -> str:
    return f'{status} mcp-proxy; error=http_request_denied; details="{option}" {more}'.strip()


async def has_refused(proxy: RunningProxy, option: str, number: int) -> None:
    """The proxy's metrics say that the option has refused so many requests."""
    name = "mcp_proxy_requests_refused_total"
    await proxy.shows(f'{name}{{option="{option}",route="echo"}} {number:.1f}')


async def answers_of_the_upstream(proxy: RunningProxy, number: int) -> None:
    """Return when the proxy has the heads of so many answers."""
    name = "mcp_proxy_upstream_first_byte_seconds_count"
    await proxy.shows(f'{name}{{route="echo"}} {number:.1f}')


class Waiting:
    """An upstream that answers when the test says so."""

    def __init__(self) -> None:
        self.arrived = asyncio.Semaphore(0)
        self.go_on = asyncio.Event()
        self.connections = 0
        self.hosts: list[str] = []
        self.lost = asyncio.Semaphore(0)
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                line, fields = await read_head(reader)
                self.hosts.append(fields["host"])
                self.arrived.release()
                if line.startswith("GET /wait"):
                    await self.go_on.wait()
                elif line.startswith("POST /early"):
                    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
                    await reader.read()  # until the proxy gives up
                elif "transfer-encoding" in fields:
                    await reader.readuntil(b"\r\n0\r\n\r\n")
                else:
                    await reader.readexactly(int(fields.get("content-length", "0")))
                writer.write(plain_answer(b"here"))
        except (asyncio.IncompleteReadError, ConnectionError):
            self.lost.release()


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[Waiting]:
    here = Waiting()
    async with raw_upstream(here.serve) as port:
        here.port = port
        yield here
        here.go_on.set()


def guarded(home: Path, upstream: Waiting, **options: Any) -> Any:
    """A proxy whose route ``echo`` has *options*, and whose route ``other`` has none."""
    routes = dict.fromkeys(("echo", "other"), f"http://127.0.0.1:{upstream.port}")
    return running_proxy(home, routes, route_options={"echo": options})


@pytest.mark.parametrize("version", VERSIONS)
async def test_methods(tmp_path: Path, upstream: Waiting, version: str) -> None:
    async with guarded(tmp_path, upstream, methods=["GET", "POST"]) as proxy:
        for method in ("DELETE", "PUT", "OPTIONS", "PATCH"):
            expected = denied(405, "methods", "GET, POST")
            assert await told(proxy, "-X", method, version=version) == expected
        assert await told(proxy, "--head", version=version) == denied(405, "methods", "GET, POST")
        assert upstream.connections == 0
        assert await told(proxy, version=version) == "200"
        assert await told(proxy, "-d", "x", version=version) == "200"
        assert await told(proxy, "-X", "DELETE", url="other/", version=version) == "200"
        line = await proxy.logged("request finished", status=405, method="DELETE")
        assert (line["error"], line["route"]) == ("refused by methods", "echo")
        await has_refused(proxy, "methods", 5)


@pytest.mark.parametrize("version", VERSIONS)
async def test_content_that_is_announced(tmp_path: Path, upstream: Waiting, version: str) -> None:
    async with guarded(tmp_path, upstream, max_body_bytes=1000) as proxy:
        for size in (1001, 100_000, 2_000_000):
            (tmp_path / "content").write_bytes(bytes(size))
            more = ("--data-binary", f"@{tmp_path}/content", "-H", "Expect:")
            assert await told(proxy, *more, version=version) == denied(413, "max_body_bytes")
        assert upstream.connections == 0
        assert await told(proxy, "-d", "x" * 1000, version=version) == "200"
        assert await told(proxy, "-d", "x" * 1001, url="other/", version=version) == "200"
        await has_refused(proxy, "max_body_bytes", 3)


@pytest.mark.parametrize("version", VERSIONS)
async def test_content_of_unknown_length(tmp_path: Path, upstream: Waiting, version: str) -> None:
    """It is counted as it comes; the upstream never sees the end of one that is too large."""

    async def content(*sizes: int) -> AsyncIterator[bytes]:
        yield bytes(sizes[0])
        if sizes[1:]:
            await upstream.arrived.acquire()  # the head, and so the proxy has the first part
        for size in sizes[1:]:
            yield bytes(size)

    async with guarded(tmp_path, upstream, max_body_bytes=1000) as proxy:
        async with client(proxy, version) as http:
            for sizes in ((1, 999, 1), (1, 5000), (500, 400, 101), (1001,)):
                reply = await http.post(URL, content=content(*sizes))
                assert reply.status_code == 413
                assert reply.headers["proxy-status"].endswith('details="max_body_bytes"')
            reply = await http.post(URL, content=content(1, 999))
            assert (reply.status_code, reply.text) == (200, "here")
        for _ in range(3):
            await asyncio.wait_for(upstream.lost.acquire(), PATIENCE)
        await has_refused(proxy, "max_body_bytes", 4)
        line = await proxy.logged("request finished", status=413)
        assert line["error"] == "refused by max_body_bytes"


async def test_chunks_of_one_byte_are_counted_without_their_frames(
    tmp_path: Path, upstream: Waiting
) -> None:
    async with guarded(tmp_path, upstream, max_body_bytes=5) as proxy:
        head = get("echo", "/", "Transfer-Encoding: chunked").replace(b"GET", b"POST")
        for number, expected in ((5, 200), (6, 413)):
            async with raw_client(proxy) as (reader, writer):
                writer.write(head + b"1;name=value\r\nx\r\n" * number + b"0\r\n\r\n")
                assert (await answer(reader))[0] == expected


async def test_a_connection_lives_on_after_a_little_too_much(
    tmp_path: Path, upstream: Waiting
) -> None:
    async with guarded(tmp_path, upstream, max_body_bytes=5) as proxy:
        async with raw_client(proxy) as (reader, writer):
            post = get("echo", "/", "Content-Length: 6").replace(b"GET", b"POST") + b"abcdef"
            writer.write(post + get() + post + get())
            assert [(await answer(reader))[0] for _ in range(4)] == [413, 200, 413, 200]


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_answer_that_has_begun_is_cut(
    tmp_path: Path, upstream: Waiting, version: str
) -> None:
    """A client that sends too much meanwhile must not take it for a whole one."""
    begun = asyncio.Event()

    async def content() -> AsyncIterator[bytes]:
        yield b"x"
        await begun.wait()
        yield bytes(1000)

    async with guarded(tmp_path, upstream, max_body_bytes=1000) as proxy:
        waiting = asyncio.ensure_future(proxy.logged("request finished", status=200))
        async with client(proxy, version) as http:
            asking = asyncio.ensure_future(http.post(f"{URL}early", content=content()))
            # Before that, the proxy can still answer that it is too much.
            await answers_of_the_upstream(proxy, 1)
            begun.set()
            with pytest.raises(httpx.RemoteProtocolError):
                await asking
        line = await waiting
        assert line["error"] == "refused by max_body_bytes"
        await asyncio.wait_for(upstream.lost.acquire(), PATIENCE)


async def test_bytes_of_a_websocket_do_not_count(tmp_path: Path) -> None:
    options = {"echo": {"max_body_bytes": 10}}
    async with proxied(tmp_path, echo_server(), route_options=options) as proxy:
        async with opened(proxy) as connection:
            for _ in range(3):
                await connection.send(os.urandom(5000))
                assert len(await connection.recv()) == 5000


@pytest.mark.parametrize("version", VERSIONS)
async def test_requests_in_flight(tmp_path: Path, upstream: Waiting, version: str) -> None:
    full = 'mcp-proxy; error=connection_limit_reached; details="max_in_flight"'
    async with guarded(tmp_path, upstream, max_in_flight=2) as proxy:
        async with client(proxy, version) as http:
            waiting = asyncio.ensure_future(http.get(f"{URL}wait"))
            async with raw_client(proxy) as (_reader, writer):
                writer.write(get("echo", "/wait"))
                for _ in range(2):
                    await upstream.arrived.acquire()
                for _ in range(3):
                    assert await told(proxy, version=version) == f"503 {full} 1"
                assert await told(proxy, url="other/", version=version) == "200"
                await has_refused(proxy, "max_in_flight", 3)
            # One that a client gives up makes room.
            await proxy.logged("request finished", status=499)
            assert await told(proxy, version=version) == "200"
            upstream.go_on.set()
            assert (await waiting).status_code == 200
        assert await told(proxy, version=version) == "200"


async def test_a_reload_forgets_no_request_in_flight(tmp_path: Path, upstream: Waiting) -> None:
    async with guarded(tmp_path, upstream) as proxy:
        async with client(proxy) as http:
            waiting = asyncio.ensure_future(http.get(f"{URL}wait"))
            await upstream.arrived.acquire()
            proxy.edit(route_options={"echo": {"max_in_flight": 1}})
            assert await proxy.reload() == (0, "", "")
            assert (await told(proxy)).startswith("503 ")
            proxy.edit(route_options={"echo": {"max_in_flight": 2}})
            assert await proxy.reload() == (0, "", "")
            assert await told(proxy) == "200"
            upstream.go_on.set()
            assert (await waiting).status_code == 200


async def test_a_websocket_is_in_flight_until_it_ends(tmp_path: Path) -> None:
    options = {"echo": {"max_in_flight": 1}}
    async with proxied(tmp_path, echo_server(), route_options=options) as proxy:
        async with opened(proxy) as connection:
            with pytest.raises(InvalidStatus) as refused:
                async with opened(proxy):
                    pass
            assert refused.value.response.status_code == 503
            await connection.send("x")
            assert await connection.recv() == "x"
        await proxy.logged("request finished", status=101)
        async with opened(proxy) as connection:
            await connection.send("y")
            assert await connection.recv() == "y"


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_rate(tmp_path: Path, upstream: Waiting, version: str) -> None:
    async with guarded(tmp_path, upstream, rate="2/h") as proxy:
        found = [await told(proxy, version=version) for _ in range(4)]
        assert found[:2] == ["200", "200"]
        for line in found[2:]:
            front, seconds = line.rsplit(" ", 1)
            assert front == denied(429, "rate")
            assert 1700 < int(seconds) <= 1800
        assert await told(proxy, url="other/", version=version) == "200"
        await has_refused(proxy, "rate", 2)
        # A reload that leaves the rate alone forgets nothing; another rate begins anew.
        proxy.edit(route_options={"echo": {"rate": "2/h", "methods": ["GET"]}})
        assert await proxy.reload() == (0, "", "")
        assert (await told(proxy, version=version)).startswith("429 ")
        proxy.edit(route_options={"echo": {"rate": "1/h"}})
        assert await proxy.reload() == (0, "", "")
        assert await told(proxy, version=version) == "200"
        assert (await told(proxy, version=version)).startswith("429 ")


async def test_the_workers_share_a_rate(tmp_path: Path, upstream: Waiting) -> None:
    """Connections come to workers by chance: enough of them use the shares of both."""
    routes = {"echo": f"http://127.0.0.1:{upstream.port}"}
    options = {"echo": {"rate": "6/h"}}
    async with running_proxy(tmp_path, routes, route_options=options, workers=2) as proxy:
        found = [(await told(proxy))[:3] for _ in range(40)]
        assert found.count("200") == 6
        assert found.count("429") == 34
        await has_refused(proxy, "rate", 34)


async def test_the_host_that_an_upstream_sees(tmp_path: Path, upstream: Waiting) -> None:
    address = f"127.0.0.1:{upstream.port}"
    routes = dict.fromkeys(("echo", "other"), f"http://{address}")
    for general in (False, True):
        policy = {"allowed_ips": ["127.0.0.0/8"], "rewrite_host": general}
        options = {"echo": {"rewrite_host": not general}}
        home = tmp_path / str(general)
        home.mkdir()
        async with running_proxy(home, routes, upstream=policy, route_options=options) as proxy:
            upstream.hosts.clear()
            assert await told(proxy) == await told(proxy, url="other/") == "200"
            names = [f"echo.{DOMAIN}", address, f"other.{DOMAIN}"]
            assert upstream.hosts == (names[:2] if general else names[1:])


async def test_time_to_connect(tmp_path: Path, deaf_port: int) -> None:
    routes = {"echo": f"http://127.0.0.1:{deaf_port}"}
    options = {"echo": {"timeouts": {"connect": "200ms"}}}
    # The general limit is longer than the test may take.
    timeouts = {"connect": "10m"}
    async with running_proxy(tmp_path, routes, timeouts=timeouts, route_options=options) as proxy:
        assert await told(proxy) == "504 mcp-proxy; error=connection_timeout"
        await proxy.logged("no connection within 0.2 s", route="echo")


async def test_time_for_content(tmp_path: Path, upstream: Waiting) -> None:
    async with guarded(tmp_path, upstream, timeouts={"idle": "200ms"}) as proxy:
        async with raw_client(proxy) as (reader, writer):
            writer.write(get("echo", "/", "Content-Length: 6").replace(b"GET", b"POST") + b"abc")
            status, _fields, body = await answer(reader)
            assert (status, body) == (408, b"Request content not received in time\n")


async def test_routes_with_other_timeouts_share_no_connection(
    tmp_path: Path, upstream: Waiting
) -> None:
    routes = dict.fromkeys(("echo", "other", "third"), f"http://127.0.0.1:{upstream.port}")
    options = {"echo": {"timeouts": {"upstream_idle": "1h"}}}
    timeouts = {"upstream_idle": "50m"}
    async with running_proxy(tmp_path, routes, timeouts=timeouts, route_options=options) as proxy:
        for _ in range(3):
            for route in routes:
                assert await told(proxy, url=f"{route}/") == "200"
        assert upstream.connections == 2


async def test_how_long_an_idle_connection_is_kept(tmp_path: Path, upstream: Waiting) -> None:
    routes = {"echo": f"http://127.0.0.1:{upstream.port}"}
    options = {"echo": {"timeouts": {"upstream_idle": "100ms"}}}
    timeouts = {"upstream_idle": "1h"}
    async with running_proxy(tmp_path, routes, timeouts=timeouts, route_options=options) as proxy:
        assert await told(proxy) == "200"
        await asyncio.wait_for(upstream.lost.acquire(), PATIENCE)


async def test_a_reload_changes_options_and_refuses_wrong_ones(
    tmp_path: Path, upstream: Waiting
) -> None:
    async with guarded(tmp_path, upstream) as proxy:
        assert await told(proxy, "-X", "DELETE") == "200"
        proxy.edit(route_options={"echo": {"methods": ["GET"], "paths": ["/a"]}})
        assert await proxy.reload() == (0, "", "")
        assert await told(proxy, "-X", "DELETE", url="echo/a") == denied(405, "methods", "GET")
        for wrong, said in (
            ({"maintenance": "maybe"}, "route_options.echo.maintenance: must be true or"),
            ({"paths": ["a"]}, "route_options.echo.paths[0]: must begin with /, not 'a'; write"),
            ({"rate": "0/s"}, "route_options.echo.rate: 0/s lets no request through; set"),
            ({"methods": []}, "route_options.echo.methods: allows nothing: the list is empty; "),
            ({"max_in_flight": 0}, "route_options.echo.max_in_flight: must be a whole number"),
            ({"timeouts": {"header": "1s"}}, "route_options.echo.timeouts.header: runs before"),
        ):
            proxy.edit(route_options={"echo": wrong})
            status, _out, err = await proxy.reload()
            assert (status, said in err) == (1, True), err
        proxy.edit(route_options={"ecko": {}})
        status, _out, err = await proxy.reload()
        assert (status, "route_options.ecko: no such route" in err) == (1, True), err
        assert await told(proxy, url="echo/b") == denied(404, "paths")
        await has_refused(proxy, "paths", 1)


@pytest.mark.parametrize("version", VERSIONS)
async def test_maintenance_comes_and_goes_with_a_reload(tmp_path: Path, version: str) -> None:
    dialled = 0

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal dialled
        dialled += 1
        while await read_head(reader):
            writer.write(plain_answer(b"here"))

    options = {"echo": {"maintenance": True, "retry_after": "1500ms"}}
    async with proxied(tmp_path, raw_upstream(upstream), route_options=options) as proxy:
        assert (await proxy.logged("route configured"))["maintenance"] == "yes"
        assert await told(proxy, version=version) == f"{AWAY} 2"
        assert await told(proxy, "-d", "x" * 100_000, version=version) == f"{AWAY} 2"
        assert dialled == 0
        await proxy.shows('mcp_proxy_route_maintenance{route="echo"} 1.0')
        workers = proxy.workers()
        seen = len(proxy.log)
        proxy.edit(route_options={"echo": {"maintenance": False}})
        assert await proxy.reload() == (0, "", "")
        assert "maintenance" not in await proxy.logged("route configured", after=seen)
        assert await told(proxy, version=version) == "200"
        assert dialled == 1
        await proxy.shows('mcp_proxy_route_maintenance{route="echo"} 0.0')
        assert proxy.workers() == workers


async def test_a_request_that_has_begun_ends_as_it_began(tmp_path: Path) -> None:
    goes_on = asyncio.Event()

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await read_head(reader):
            await goes_on.wait()
            writer.write(plain_answer(b"here"))

    async with proxied(tmp_path, raw_upstream(upstream)) as proxy:
        async with raw_client(proxy) as (reader, writer):
            writer.write(get())
            await proxy.logged("request started")
            proxy.edit(route_options={"echo": {"maintenance": True}})
            assert await proxy.reload() == (0, "", "")
            goes_on.set()
            assert (await answer(reader))[0] == 200
            writer.write(get())
            assert (await answer(reader))[0] == 503
