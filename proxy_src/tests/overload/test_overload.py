"""Under overload memory stays bounded and others are served; afterwards everything works again.

As many clients as ``OVERLOAD_CLIENTS`` says, 10,000 in ``make overload``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from clients import (
    UPGRADE,
    Client,
    closing_all,
    comes_to,
    cpu_seconds,
    descriptors,
    frame,
    has_at_most,
    metric,
    others_are_served,
    rss,
)
from flood import PREFACE, block, http2_frame
from h2.connection import H2Connection
from mcp_proxy.system import budget
from running import DOMAIN, PATIENCE, RunningProxy, becomes, proxied, running_proxy
from tunnelled import answer, curl, get, raw_client
from upstreams import plain_answer, raw_upstream, read_head

CLIENTS = int(os.environ.get("OVERLOAD_CLIENTS", "300"))
FEW = max(CLIENTS // 20, 20)
OPEN = "mcp_proxy_connections_open"
IN_FLIGHT = "mcp_proxy_requests_in_flight"
BUFFERED, CUT = "mcp_proxy_buffered_bytes", "mcp_proxy_buffers_cut_total"
FLOOD = Path(__file__).parent / "flood.py"
ROOMY = {"max_connections": CLIENTS + 100}
PATIENT = {"idle": "60m"}  # a busy machine takes minutes to open them all
HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"  # how a ClientHello of 512 bytes begins


@pytest.fixture(autouse=True)
def _own_descriptors() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert hard > CLIENTS * 3 // 2 + 500, "the machine does not allow as many descriptors"
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def polite(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await read_head(reader)
        writer.write(plain_answer(b"ok"))


async def served_again(proxy: RunningProxy, before: int) -> None:
    """Everything of the overload is gone, and the proxy is the same process."""
    await comes_to(proxy, OPEN, 0)
    await comes_to(proxy, IN_FLIGHT, 0)
    async with raw_client(proxy) as (reader, writer):
        writer.write(get())
        assert (await answer(reader))[0] == 200
    await has_at_most(proxy, before + 64)  # connections to upstreams are kept for a while
    assert proxy.process.returncode is None


async def opened(
    clients: list[Client],
    count: int,
    port: int,
    prepare: Callable[[Client], None],
    at_once: int = 1,
) -> None:
    """Add *count* clients to *clients*, each *prepare*d, *at_once* of them at a time."""

    def work(share: int) -> None:
        for _ in range(share):
            client = Client(port)
            clients.append(client)
            prepare(client)

    shares = [count // at_once + (n < count % at_once) for n in range(at_once)]
    await asyncio.gather(*(asyncio.to_thread(work, share) for share in shares))


async def test_idle_connections(
    tmp_path: Path, record_testsuite_property: Callable[[str, object], None]
) -> None:
    upstream = raw_upstream(polite)
    async with proxied(tmp_path, upstream, limits=ROOMY, timeouts=PATIENT) as proxy:
        context = proxy.client_tls("http/1.1")

        def use_once(client: Client) -> None:
            client.open_websocket()
            client.open_tls(context)
            client.send(get())
            assert client.read().startswith(b"HTTP/1.1 200")
            client.forget_tls()

        before = descriptors(proxy)
        with closing_all() as clients:
            await opened(clients, 50, proxy.port, use_once)  # one-time allocations
            empty = rss(proxy)
            async with others_are_served(proxy):
                await opened(clients, CLIENTS, proxy.port, use_once)
            whole = rss(proxy)
            each = (whole - empty) / CLIENTS
            print(f"{CLIENTS} idle: {whole / 1e6:.1f} MB in all, {each / 1e3:.1f} kB each")
            record_testsuite_property("bytes_per_idle_connection", each)
            await comes_to(proxy, OPEN, CLIENTS + 50)
            assert each < 40_000
        await served_again(proxy, before)


STAGES = (
    b"",
    UPGRADE[:-20],
    UPGRADE,
    UPGRADE + b"\x82\xfe\xff\xff" + bytes(4) + HELLO,  # a frame that is not complete
    UPGRADE + frame(HELLO),
)


async def test_handshakes_that_never_end(tmp_path: Path) -> None:
    timeouts = {"handshake": "6s"}
    async with proxied(tmp_path, raw_upstream(polite), limits=ROOMY, timeouts=timeouts) as proxy:
        before = descriptors(proxy)
        with closing_all() as clients:
            async with others_are_served(proxy):
                await opened(
                    clients,
                    CLIENTS,
                    proxy.port,
                    lambda c: c.socket.sendall(STAGES[len(clients) % len(STAGES)]),
                )
                await comes_to(proxy, OPEN, 1)  # the others' oldest
            assert rss(proxy) < 80_000_000 + CLIENTS * 40_000
            await served_again(proxy, before)


async def test_requests_that_never_end(tmp_path: Path) -> None:
    timeouts = {"header": "6s"}
    async with proxied(tmp_path, raw_upstream(polite), limits=ROOMY, timeouts=timeouts) as proxy:
        context = proxy.client_tls("http/1.1")

        def begin(client: Client) -> None:
            client.open_websocket()
            client.open_tls(context)
            client.send(get()[:-4])

        before = descriptors(proxy)
        with closing_all() as clients:
            async with others_are_served(proxy):
                await opened(clients, CLIENTS, proxy.port, begin)
            for client in clients:
                assert (await asyncio.to_thread(client.read)).startswith(b"HTTP/1.1 408")
        await served_again(proxy, before)


async def test_clients_that_do_not_read(tmp_path: Path) -> None:
    block = bytes(1 << 16)

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line, _ = await read_head(reader)
        if "/small" in line:
            writer.write(plain_answer(b"ok"))
            return
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(block)
            await writer.drain()

    async with raw_upstream(endless) as port, raw_upstream(polite) as other:
        routes = {"echo": f"http://127.0.0.1:{other}", "bulk": f"http://127.0.0.1:{port}"}
        async with running_proxy(tmp_path, routes, limits=ROOMY) as proxy:
            context = proxy.client_tls("http/1.1")

            def ask(client: Client) -> None:
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
                client.open_websocket()
                client.open_tls(context, "bulk")
                client.send(get("bulk"))

            before, empty = descriptors(proxy), rss(proxy)
            with closing_all() as clients:
                async with others_are_served(proxy):
                    await opened(clients, FEW, proxy.port, ask)
                    await comes_to(proxy, IN_FLIGHT, FEW)
                each = (rss(proxy) - empty) / FEW
                print(f"{FEW} clients that do not read: {each / 1e3:.0f} kB each")
                assert each < 1_500_000
            await served_again(proxy, before)


async def test_clients_that_stop_reading_over_http2(
    tmp_path: Path, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """In the middle of large answers. Each client has an upstream's connection, so two workers."""
    count, workers = CLIENTS, 2
    async with bulk_upstream() as port, raw_upstream(polite) as other:
        routes = {"echo": f"http://127.0.0.1:{other}", "flood": f"http://127.0.0.1:{port}"}
        # The kernel shares them out by chance.
        settings = {"workers": workers, "limits": {"max_connections": 2 * count}}
        async with running_proxy(tmp_path, routes, timeouts=PATIENT, **settings) as proxy:
            context = proxy.client_tls("h2")

            def stop_reading(client: Client) -> None:
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
                client.open_websocket()
                client.open_tls(context, "flood")
                client.send(PREFACE + http2_frame(1, 1, block("flood"), 5))
                taken = 0
                while taken < 50_000:
                    taken += len(client.read())
                client.forget_tls()

            before, empty = descriptors(proxy), rss(proxy)
            with closing_all() as clients:
                async with others_are_served(proxy):
                    # Each of them waits for the kernel, whose buffers are small.
                    await opened(clients, count, proxy.port, stop_reading, at_once=20)

                async def much_waits() -> bool:
                    return await metric(proxy, BUFFERED) > count * 1000

                await becomes(True, much_waits)

                async def all_others_are_there() -> bool:
                    return await metric(proxy, OPEN) + await metric(proxy, CUT) == count

                await becomes(True, all_others_are_there)
                waits, cut = await metric(proxy, BUFFERED), await metric(proxy, CUT)
                grown = rss(proxy) - empty
                print(
                    f"{count} clients that stop reading over HTTP/2: {grown / 1e6:.0f} MB more, "
                    f"{waits / 1e6:.0f} MB wait, {cut:.0f} connections cut"
                )
                record_testsuite_property("bytes_of_unread_http2", grown)
                assert waits <= workers * budget.MOST
                # Objects of a connection and a request, and what the C library keeps in holes.
                assert grown < 1.5 * workers * budget.MOST + count * 100_000
            await served_again(proxy, before)


@contextlib.asynccontextmanager
async def bulk_upstream() -> AsyncIterator[int]:
    """An upstream in a process of its own, whose answers have no end; yields its port."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(FLOOD), "bulk"), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        yield int(await process.stdout.readline())
    finally:
        process.kill()
        await process.communicate()


async def test_clients_of_the_admin_listener_that_do_nothing(tmp_path: Path) -> None:
    async with proxied(tmp_path, raw_upstream(polite)) as proxy:
        before = descriptors(proxy)
        with closing_all() as clients:
            await opened(clients, CLIENTS, proxy.admin_port, lambda client: None)
            for _ in range(5):
                await comes_to(proxy, "mcp_proxy_workers", 1)
            assert descriptors(proxy) <= before + 64 + 256
        await served_again(proxy, before)


async def test_an_upstream_that_does_not_read(tmp_path: Path) -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()
        await asyncio.Event().wait()

    async with raw_upstream(deaf) as port, raw_upstream(polite) as other:
        routes = {"echo": f"http://127.0.0.1:{other}", "deaf": f"http://127.0.0.1:{port}"}
        # While nothing is read from a client, it is not noticed that it has left.
        timeouts = {"idle": "5s"}
        async with running_proxy(tmp_path, routes, limits=ROOMY, timeouts=timeouts) as proxy:
            context = proxy.client_tls("http/1.1")

            def push(client: Client) -> None:
                client.open_websocket()
                client.open_tls(context, "deaf")
                client.send(get("deaf", "/", "Content-Length: 99999999"))
                client.socket.settimeout(0.01)
                with contextlib.suppress(TimeoutError):
                    while True:
                        client.send(bytes(1 << 16))

            before, empty = descriptors(proxy), rss(proxy)
            with closing_all() as clients:
                async with others_are_served(proxy):
                    await opened(clients, FEW, proxy.port, push)
                each = (rss(proxy) - empty) / FEW
                print(f"{FEW} uploads that are not taken: {each / 1e3:.0f} kB each")
                # Less than one turn of the event loop may read: 32 times 64 KiB (libuv).
                assert each < 1_500_000
            await served_again(proxy, before)


async def test_an_upstream_that_never_answers(tmp_path: Path) -> None:
    """Also an upstream whose queue of connections is full, so that it never accepts."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until the proxy gives up

    with full_backlog() as full:
        async with raw_upstream(silent) as port, raw_upstream(polite) as other:
            routes = {
                "echo": f"http://127.0.0.1:{other}",
                "mute": f"http://127.0.0.1:{port}",
                "full": f"http://127.0.0.1:{full}",
            }
            timeouts = {"connect": "2s"}
            async with running_proxy(tmp_path, routes, limits=ROOMY, timeouts=timeouts) as proxy:
                context = proxy.client_tls("http/1.1")

                def ask(client: Client) -> None:
                    client.open_websocket()
                    client.open_tls(context)
                    client.send(get(route))

                before = descriptors(proxy)
                with closing_all() as clients, closing_all() as refused:
                    async with others_are_served(proxy):
                        route = "mute"
                        await opened(clients, FEW, proxy.port, ask)
                        route = "full"
                        await opened(refused, FEW, proxy.port, ask)
                        for client in refused:
                            told = await asyncio.to_thread(client.read)
                            assert told.startswith(b"HTTP/1.1 504")
                    await comes_to(proxy, IN_FLIGHT, FEW)
                await served_again(proxy, before)


@contextlib.contextmanager
def full_backlog() -> AsyncIterator[int]:
    """A port that no longer completes any connection."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            yield port


async def test_connections_above_the_limit(tmp_path: Path) -> None:
    limits = {"max_connections": 20}
    timeouts = {"handshake": "6s"}
    async with proxied(tmp_path, raw_upstream(polite), limits=limits, timeouts=timeouts) as proxy:
        context = proxy.client_tls("http/1.1")

        def use(client: Client) -> None:
            client.open_websocket()
            client.open_tls(context)

        before, empty = descriptors(proxy), rss(proxy)
        with closing_all() as inside, closing_all() as outside:
            await opened(inside, 20, proxy.port, use)
            # Some of the silent clients are waited for; the others are closed without an answer.
            await opened(outside, CLIENTS, proxy.port, lambda client: None)
            for _ in range(3):
                for client in inside:
                    client.send(get())
                    assert (await asyncio.to_thread(client.read)).startswith(b"HTTP/1.1 200")
            assert descriptors(proxy) <= before + 20 + 64 + 257
            assert rss(proxy) - empty < 20_000_000
            await comes_to(proxy, "mcp_proxy_connections_refused_total", CLIENTS)
            line = await proxy.logged("connection limit reached")
            assert line["max_connections"] == 20
        await served_again(proxy, before)


LIMIT = 200  # of descriptors
ROOM = (LIMIT - 64) * 2 // 3


@contextlib.asynccontextmanager
async def few_descriptors(
    home: Path, routes: dict[str, str], **settings: object
) -> AsyncIterator[RunningProxy]:
    through = ("prlimit", f"--nofile={LIMIT}:{LIMIT}")
    async with running_proxy(home, routes, through=through, **settings) as proxy:
        line = await proxy.logged("descriptor limit lowers max_connections")
        assert (line["max_connections"], line["configured"]) == (ROOM, 4096)
        yield proxy


async def closing_upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_head(reader)
    writer.write(plain_answer(b"ok", b"Connection: close"))


async def test_more_clients_than_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as watchdog:
        watchdog.bind(path)
        watchdog.setblocking(False)
        async with raw_upstream(closing_upstream) as port:
            routes = {"echo": f"http://127.0.0.1:{port}"}
            async with few_descriptors(tmp_path, routes) as proxy:
                context = proxy.client_tls("http/1.1")

                def use(client: Client) -> None:
                    client.open_websocket()
                    client.open_tls(context)

                before = descriptors(proxy)
                with closing_all() as inside, closing_all() as outside:
                    await opened(inside, ROOM, proxy.port, use)
                    await opened(outside, LIMIT * 3, proxy.port, lambda client: None)
                    # Each of these takes a new connection to the upstream.
                    busy = inside[: ROOM // 2]
                    for client in busy:
                        client.send(get())
                    for client in busy:
                        assert (await asyncio.to_thread(client.read)).startswith(b"HTTP/1.1 200")
                    # The watchdog and the readers of the metrics are still served.
                    with contextlib.suppress(BlockingIOError):
                        while watchdog.recv(1000):
                            pass
                    loop = asyncio.get_running_loop()
                    assert await asyncio.wait_for(loop.sock_recv(watchdog, 1000), PATIENCE)
                    await comes_to(proxy, OPEN, ROOM)
                    await idle_costs_nothing(proxy)
                await served_again(proxy, before)


async def idle_costs_nothing(proxy: RunningProxy) -> None:
    used = cpu_seconds(proxy)
    await asyncio.sleep(1)
    assert cpu_seconds(proxy) - used < 0.5


async def test_more_requests_than_descriptors(tmp_path: Path) -> None:
    """Few connections are enough: HTTP/2 carries many requests, each with one to the upstream."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with raw_upstream(silent) as port, raw_upstream(polite) as other:
        routes = {"echo": f"http://127.0.0.1:{other}", "mute": f"http://127.0.0.1:{port}"}
        async with few_descriptors(tmp_path, routes) as proxy:
            before = descriptors(proxy)
            async with others_are_served(proxy):
                pass
            async with contextlib.AsyncExitStack() as stack:
                for _ in range(3):
                    _, writer = await stack.enter_async_context(raw_client(proxy, "mute", "h2"))
                    h2 = H2Connection()
                    h2.initiate_connection()
                    for stream in range(1, 200, 2):
                        fields = [(":method", "GET"), (":scheme", "https"), (":path", "/")]
                        h2.send_headers(
                            stream, [*fields, (":authority", f"mute.{DOMAIN}")], end_stream=True
                        )
                    writer.write(h2.data_to_send())
                await proxy.logged("cannot reach 127.0.0.1: Too many open files", route="mute")
                shown = ("-o", os.devnull, "-w", "%{http_code} %header{proxy-status}")
                told = await curl(proxy, "mute/", *shown)
                assert told == "502 mcp-proxy; error=proxy_internal_error"
                await has_at_most(proxy, LIMIT - 32)
                await comes_to(proxy, OPEN, 3)  # there is a descriptor for the scraper
            await served_again(proxy, before)


async def test_a_certificate_is_renewed_without_descriptors_to_spare(tmp_path: Path) -> None:
    async with raw_upstream(polite) as port:
        routes = {"echo": f"http://127.0.0.1:{port}"}
        tls = {
            "cert_file": str(tmp_path / "tls/tls.crt"),
            "key_file": str(tmp_path / "tls/tls.key"),
            "poll_interval": "100ms",
        }
        async with few_descriptors(tmp_path, routes, tls=tls) as proxy:
            with closing_all() as clients:
                await opened(clients, LIMIT * 3, proxy.port, lambda client: None)
                seen = len(proxy.log)
                proxy.authority.issue(f"*.{DOMAIN}").write(tmp_path / "tls")
                await proxy.logged("certificate loaded", after=seen)
