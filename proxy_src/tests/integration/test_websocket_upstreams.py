"""WebSocket servers as upstreams, and a WebSocket client that comes through the tunnel."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from bridge import TunnelBridge
from running import DOMAIN, PATIENCE, SOON, RunningProxy, proxied
from tunnelled import answer, get, raw_client
from upstreams import plain_answer, raw_upstream, read_head
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, ConnectionClosedOK, InvalidStatus

MIB = 1 << 20
WISH = ("Connection: Upgrade", "Upgrade: websocket")
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


@contextlib.asynccontextmanager
async def echo_server(**options: Any) -> AsyncIterator[int]:
    """Sends every message back; closes with 4001 at the message ``close``."""

    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            if message == "close":
                await connection.close(4001, "as you wish")
                return
            await connection.send(message)

    async with serve(echo, "127.0.0.1", 0, max_size=None, **options) as server:
        yield server.sockets[0].getsockname()[1]


@contextlib.asynccontextmanager
async def opened(proxy: RunningProxy, **options: Any) -> AsyncIterator[ClientConnection]:
    """A WebSocket connection to the route ``echo``."""
    async with TunnelBridge(proxy.port) as port:
        async with connect(
            f"wss://echo.{DOMAIN}/chat",
            host="127.0.0.1",
            port=port,
            ssl=proxy.client_tls("http/1.1"),
            max_size=None,
            **options,
        ) as connection:
            yield connection


async def test_messages_pass_both_ways(tmp_path: Path) -> None:
    large = os.urandom(24 * MIB)
    async with proxied(tmp_path, echo_server(subprotocols=["mcp"])) as proxy:
        async with opened(proxy, subprotocols=["other", "mcp"]) as connection:
            assert connection.subprotocol == "mcp"
            for message in ("text", b"binary", "", "\u00fc" * 1000, large):
                await connection.send(message)
                assert await connection.recv() == message
            await (await connection.ping())
        line = await proxy.logged("request finished", status=101)
        assert line["bytes_out"] > 24 * MIB
        assert line["bytes_in"] > 24 * MIB // 100  # the client may compress
        assert "error" not in line
        assert proxy.peak_rss() < 100_000_000


async def test_the_upstream_closes_first(tmp_path: Path) -> None:
    async with proxied(tmp_path, echo_server()) as proxy:
        async with opened(proxy) as connection:
            await connection.send("close")
            with pytest.raises(ConnectionClosed) as closed:
                await connection.recv()
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "as you wish")
        line = await proxy.logged("request finished", status=101)
        assert "error" not in line


async def test_an_upstream_that_refuses(tmp_path: Path) -> None:
    def refuse(connection: ServerConnection, _: Any) -> Any:
        return connection.respond(403, "not you\n")

    async with proxied(tmp_path, echo_server(process_request=refuse)) as proxy:
        with pytest.raises(InvalidStatus) as refused:
            async with opened(proxy):
                pass
        assert refused.value.response.status_code == 403
        assert refused.value.response.body == b"not you\n"


async def test_an_upstream_that_knows_no_upgrade(tmp_path: Path) -> None:
    seen: list[dict[str, str]] = []

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            line, fields = await read_head(reader)
            seen.append(fields)
            writer.write(plain_answer(line.split()[1].encode()))

    async with proxied(tmp_path, raw_upstream(upstream)) as proxy:
        async with raw_client(proxy) as (reader, writer):
            settings = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AA")
            writer.write(get("echo", "/1", *WISH) + get("echo", "/2", *settings))
            writer.write(get("echo", "/3"))
            for number in range(1, 4):
                assert (await answer(reader))[2] == b"/%d" % number
    assert (seen[0]["connection"], seen[0]["upgrade"]) == ("Upgrade", "websocket")
    for fields in seen[1:]:
        assert not {"connection", "upgrade", "http2-settings"} & set(fields)


async def test_what_the_client_says_last_arrives(tmp_path: Path) -> None:
    """Its last words and the end of its connection come in one read."""
    got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(SWITCH)
        got.set_result(await reader.read(-1))

    async with proxied(tmp_path, raw_upstream(upstream)) as proxy:
        async with raw_client(proxy) as (reader, writer):
            writer.write(get("echo", "/", *WISH))
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"x" * 100_000)
            writer.close()
            assert await asyncio.wait_for(got, PATIENCE) == b"x" * 100_000
        line = await proxy.logged("request finished", status=101)
        assert line["bytes_in"] == 100_000


async def test_what_the_upstream_says_last_arrives(tmp_path: Path) -> None:
    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(SWITCH + b"y" * 1_000_000)

    async with proxied(tmp_path, raw_upstream(upstream)) as proxy:
        async with raw_client(proxy) as (reader, writer):
            writer.write(get("echo", "/", *WISH))
            await reader.readuntil(b"\r\n\r\n")
            assert await reader.read(-1) == b"y" * 1_000_000


async def test_one_side_that_takes_nothing_stops_the_other(tmp_path: Path) -> None:
    release = asyncio.Event()

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(SWITCH)
        await release.wait()
        got = 0
        while got < 64 * MIB:
            got += len(await reader.read(MIB))
        writer.write(b"all")

    async with proxied(tmp_path, raw_upstream(upstream)) as proxy:
        async with raw_client(proxy) as (reader, writer):
            writer.write(get("echo", "/", *WISH))
            await reader.readuntil(b"\r\n\r\n")

            async def upload() -> None:
                for _ in range(64):
                    writer.write(bytes(MIB))
                    await writer.drain()

            task = asyncio.ensure_future(upload())
            _, stuck = await asyncio.wait([task], timeout=3)
            assert stuck
            release.set()
            await task
            assert await reader.readexactly(3) == b"all"
        assert proxy.peak_rss() < 100_000_000


async def test_a_tunnel_that_nobody_takes_from_is_given_up(tmp_path: Path) -> None:
    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(SWITCH)
        await asyncio.sleep(3600)

    async with proxied(tmp_path, raw_upstream(upstream), timeouts={"idle": SOON}) as proxy:
        async with raw_client(proxy) as (reader, writer):
            writer.write(get("echo", "/", *WISH))
            await reader.readuntil(b"\r\n\r\n")
            writer.write(bytes(32 * MIB))
            line = await proxy.logged("request finished", status=101)
            assert "upstream does not take" in line["error"]


@pytest.mark.parametrize("patient", [True, False])
async def test_a_stop_waits_for_tunnels_as_for_streams(tmp_path: Path, patient: bool) -> None:
    seconds = "1m" if patient else "300ms"
    async with proxied(tmp_path, echo_server(), shutdown_timeout=seconds) as proxy:
        async with opened(proxy) as connection:
            await connection.send("before")
            assert await connection.recv() == "before"
            proxy.terminate()
            if patient:
                await proxy.logged("stopping")
                await connection.send("after")
                assert await connection.recv() == "after"
                await connection.close()
            else:
                with pytest.raises(ConnectionClosed) as closed:
                    await connection.recv()
                assert not isinstance(closed.value, ConnectionClosedOK)
        assert await asyncio.wait_for(proxy.process.wait(), PATIENCE) == 0
        await proxy.logged("request finished", status=101)
