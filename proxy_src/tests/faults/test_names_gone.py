"""The name server is gone or silent: requests that do not need it go on, and it may come back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from name_server import Reply, addresses, name_server
from namespace import Namespace, own_network
from running import KEPT, PATIENCE, RunningProxy, running_proxy
from tunnelled import answer, get, raw_client
from upstreams import plain_answer, raw_upstream, read_head

UPSTREAM = "10.0.0.5"
HOSTS = "127.0.0.1 localhost\n"


@pytest.fixture
def network() -> Iterator[Namespace]:
    with own_network(UPSTREAM) as made:
        yield made


async def polite(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        line, _ = await read_head(reader)
        writer.write(plain_answer(b"ok", *([b"Connection: close"] if "/last" in line else [])))


@contextlib.asynccontextmanager
async def proxy_of(network: Namespace, home: Path) -> AsyncIterator[RunningProxy]:
    async with raw_upstream(polite) as port:
        routes = {
            "named": f"http://named.test:{port}",
            "stuck": f"http://stuck.test:{port}",
            "plain": f"http://127.0.0.1:{port}",
        }
        through = network.resolver(home, HOSTS)
        async with running_proxy(home, routes, through=through, timeouts=KEPT) as proxy:
            yield proxy


async def ask(proxy: RunningProxy, route: str, path: str = "/") -> tuple[int, bytes]:
    async with raw_client(proxy, route) as (reader, writer):
        writer.write(get(route, path))
        status, _, body = await answer(reader)
        return status, body


async def test_the_name_server_goes_and_comes_back(network: Namespace, tmp_path: Path) -> None:
    zone = {"named.test": [addresses("127.0.0.1")]}
    async with proxy_of(network, tmp_path) as proxy:
        async with name_server(zone):
            assert await ask(proxy, "named") == (200, b"ok")
        # A connection that is open needs no name.
        assert await ask(proxy, "named", "/last") == (200, b"ok")
        assert await ask(proxy, "named") == (502, b"Upstream name cannot be resolved\n")
        await proxy.logged("cannot resolve named.test: ", route="named")
        assert await ask(proxy, "plain") == (200, b"ok")
        async with name_server(zone):
            assert await ask(proxy, "named") == (200, b"ok")


async def test_a_silent_name_server_holds_up_nobody(network: Namespace, tmp_path: Path) -> None:
    zone = {"named.test": [addresses("127.0.0.1")], "stuck.test": [Reply(silent=True)]}
    async with name_server(zone) as names, proxy_of(network, tmp_path) as proxy:
        async with contextlib.AsyncExitStack() as all_:
            # Connected beforehand, so that one look-up is as long as it takes them to ask.
            clients = [
                await all_.enter_async_context(raw_client(proxy, "stuck")) for _ in range(20)
            ]
            for _, writer in clients:
                writer.write(get("stuck"))
            await names.asked.wait()
            assert await ask(proxy, "named", "/last") == (200, b"ok")
            assert await ask(proxy, "plain") == (200, b"ok")
            for reader, _ in clients:
                told = await answer(reader)
                assert told[::2] == (502, b"Upstream name cannot be resolved\n")
        # They have waited together for the same look-up.
        assert [name for name, _ in names.questions].count("stuck.test") < 5
        proxy.terminate()
        assert await asyncio.wait_for(proxy.process.wait(), PATIENCE) == 0
