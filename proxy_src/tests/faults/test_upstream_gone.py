"""The machine of an upstream is gone: no FIN, no RST, not even an acknowledgement."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from namespace import Namespace, own_network
from running import RunningProxy, running_proxy
from tunnelled import VERSIONS, answer, client, get, raw_client
from upstreams import raw_upstream, read_head

WISH = ("Connection: Upgrade", "Upgrade: websocket")
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n"


@pytest.fixture
def network() -> Iterator[Namespace]:
    with own_network() as made:
        yield made


class Server:
    """A server that answers and falls silent, until all of its streams may end."""

    def __init__(self) -> None:
        self.begun = asyncio.Semaphore(0)
        self.end = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line, _ = await read_head(reader)
        path = line.split()[1]
        if path == "/stream":
            writer.write(STREAM)
        elif path == "/socket":
            writer.write(SWITCH)
        elif path == "/unread":
            writer.transport.pause_reading()  # type: ignore[attr-defined]
        self.begun.release()
        await self.end.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n" if path in CALLS else b"")
        writer.write(b"late")


CALLS = ("/call", "/unread")


@contextlib.asynccontextmanager
async def two_upstreams(home: Path) -> AsyncIterator[tuple[RunningProxy, Server, int, Server]]:
    """A proxy with the routes ``gone`` and ``living``, their servers, and the port of the first."""
    gone, living = Server(), Server()
    async with raw_upstream(gone) as port, raw_upstream(living) as other:
        routes = {"gone": f"http://127.0.0.1:{port}", "living": f"http://127.0.0.1:{other}"}
        async with running_proxy(home, routes, timeouts={"upstream_gone": "2s"}) as proxy:
            yield proxy, gone, port, living


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_stream_is_cut_and_a_quiet_living_one_is_not(
    network: Namespace, tmp_path: Path, version: str
) -> None:
    async with (
        two_upstreams(tmp_path) as (proxy, gone, port, living),
        client(proxy, version) as http,
    ):

        async def read(route: str) -> bytes:
            parts = []
            with contextlib.suppress(http_error()):
                async with http.stream("GET", f"https://{route}.t.example/stream") as reply:
                    async for part in reply.aiter_raw():
                        parts.append(part)
            return b"".join(parts)

        lost, kept = (asyncio.ensure_future(read(route)) for route in ("gone", "living"))
        await gone.begun.acquire()
        await living.begun.acquire()
        network.vanish(port)
        line = await proxy.logged("request finished", route="gone")
        assert "has acknowledged nothing for" in line["error"]
        await proxy.logged("upstream failed: its machine has acknowledged nothing", route="gone")
        assert await lost == b"data: 1\n\n"
        living.end.set()
        assert await kept == b"data: 1\n\nlate"


def http_error() -> type[Exception]:
    import httpx

    return httpx.HTTPError


async def test_websocket_tunnels_too(network: Namespace, tmp_path: Path) -> None:
    async with two_upstreams(tmp_path) as (proxy, _, port, living):
        async with raw_client(proxy, "gone") as lost, raw_client(proxy, "living") as kept:
            for route, (reader, writer) in (("gone", lost), ("living", kept)):
                writer.write(get(route, "/socket", *WISH))
                await reader.readuntil(b"\r\n\r\n")
            network.vanish(port)
            line = await proxy.logged("request finished", route="gone", status=101)
            assert "has acknowledged nothing for" in line["error"]
            living.end.set()
            assert await kept[0].readexactly(4) == b"late"


async def test_calls_that_are_not_answered(network: Namespace, tmp_path: Path) -> None:
    """One call arrived, one never will; an upstream that does not read yet counts as alive."""
    large = 8 << 20
    async with (
        two_upstreams(tmp_path) as (proxy, gone, port, living),
        contextlib.AsyncExitStack() as all_,
    ):
        arrived, never, unread = [
            await all_.enter_async_context(raw_client(proxy, route))
            for route in ("gone", "gone", "living")
        ]
        arrived[1].write(get("gone", "/call"))
        await gone.begun.acquire()
        never[1].write(get("gone", "/call", "Content-Length: 2").replace(b"GET", b"POST"))
        await gone.begun.acquire()
        unread[1].write(
            get("living", "/unread", f"Content-Length: {large}").replace(b"GET", b"POST")
        )
        unread[1].write(bytes(large))
        await living.begun.acquire()
        network.vanish(port)
        never[1].write(b"xx")  # nothing receives it
        for reader, _ in (arrived, never):
            status, fields, _body = await answer(reader)
            error = fields["proxy-status"]
            assert (status, error) == (502, "mcp-proxy; error=connection_read_timeout")
        text = "upstream failed: its machine has acknowledged nothing"
        first = await proxy.logged(text, route="gone")
        await proxy.logged(text, after=proxy.log.index(first) + 1, route="gone")
        assert len([line for line in proxy.log if "acknowledged nothing" in line["msg"]]) == 2
        living.end.set()
        assert (await answer(unread[0]))[::2] == (200, b"late")
