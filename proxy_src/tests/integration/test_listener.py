"""The listener: clients that are refused, time limits, and how connections end."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pki import Authority
from running import DOMAIN, PATIENCE, SOON, RunningProxy, proxied, running_proxy
from tunnelled import answer, curl, get, raw_client
from upstreams import plain_answer, raw_upstream, read_head
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
NOWHERE = {"echo": "http://127.0.0.1:9"}


async def polite(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await read_head(reader)
        writer.write(plain_answer(b"ok"))


async def ends(reader: asyncio.StreamReader) -> bytes:
    """Return all that comes until the connection ends; fail if it does not end."""
    with contextlib.suppress(ConnectionResetError, ssl.SSLError):
        return await asyncio.wait_for(reader.read(), PATIENCE)
    return b""


@contextlib.asynccontextmanager
async def plain(proxy: RunningProxy) -> AsyncIterator[Streams]:
    """A TCP connection to the listener."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def tunnel_messages(tunnel: ClientConnection) -> AsyncIterator[bytes]:
    """The messages until the connection is closed, whatever its code."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            yield await tunnel.recv(decode=False)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 426 "),
        (b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + bytes(160), b"HTTP/1.1 400 "),
        (b"no http at all\r\n\r\n", b"HTTP/1.1 400 "),
    ],
    ids=["http", "tls", "noise"],
)
async def test_what_is_no_websocket(tmp_path: Path, data: bytes, expected: bytes) -> None:
    async with running_proxy(tmp_path, NOWHERE) as proxy, plain(proxy) as (reader, writer):
        writer.write(data)
        assert (await ends(reader)).startswith(expected)
        await proxy.logged("websocket handshake failed")


async def test_inner_tls_that_is_none(tmp_path: Path) -> None:
    async with running_proxy(tmp_path, NOWHERE) as proxy:
        async with connect(f"ws://127.0.0.1:{proxy.port}/") as tunnel:
            await tunnel.send(b"GET / HTTP/1.1\r\n\r\n")
            assert [message async for message in tunnel_messages(tunnel)] == []
            assert tunnel.close_code == 1002
        line = await proxy.logged("tls handshake failed")
        assert line["reason"] == "http request"


async def test_a_client_that_trusts_another_ca(tmp_path: Path) -> None:
    other = tmp_path / "other.crt"
    other.write_bytes(Authority().cert)
    async with running_proxy(tmp_path, NOWHERE) as proxy:
        with pytest.raises(AssertionError, match="certificate"):
            await curl(proxy, "echo/", "--cacert", str(other))
        assert "unknown ca" in (await proxy.logged("tls handshake failed"))["reason"]


async def test_text_messages_are_refused(tmp_path: Path) -> None:
    async with running_proxy(tmp_path, NOWHERE) as proxy:
        async with connect(f"ws://127.0.0.1:{proxy.port}/") as tunnel:
            await tunnel.send("text")
            with pytest.raises(ConnectionClosed):
                await tunnel.recv()
            assert tunnel.close_code == 1003


@pytest.mark.parametrize("stage", ["nothing", "websocket", "tls"])
async def test_a_handshake_takes_only_so_long(tmp_path: Path, stage: str) -> None:
    timeouts = {"handshake": SOON}
    async with running_proxy(tmp_path, NOWHERE, timeouts=timeouts) as proxy:
        if stage == "nothing":
            async with plain(proxy) as (reader, _):
                assert await ends(reader) == b""
        elif stage == "websocket":
            async with plain(proxy) as (reader, writer):
                writer.write(b"GET / HTTP/1.1\r\n")
                assert await ends(reader) == b""
        else:
            async with connect(f"ws://127.0.0.1:{proxy.port}/") as tunnel:
                await tunnel.send(b"\x16\x03\x01")
                with pytest.raises(ConnectionClosed):
                    await tunnel.recv()
        if stage != "nothing":
            await proxy.logged("tls handshake failed", reason="not complete in time")


async def test_a_head_takes_only_so_long(tmp_path: Path) -> None:
    async with running_proxy(tmp_path, NOWHERE, timeouts={"header": "300ms"}) as proxy:
        async with raw_client(proxy) as (reader, writer):
            writer.write(get()[:-2])
            assert (await answer(reader))[0] == 408
            assert await ends(reader) == b""


@pytest.mark.parametrize("alpn", ["http/1.1", "h2"])
async def test_an_idle_connection_is_closed(tmp_path: Path, alpn: str) -> None:
    timeouts = {"idle": SOON}
    async with proxied(tmp_path, raw_upstream(polite), timeouts=timeouts) as proxy:
        async with raw_client(proxy, "echo", alpn) as (reader, writer):
            if alpn == "http/1.1":
                writer.write(get())
                assert (await answer(reader))[0] == 200
            await ends(reader)
            assert reader.at_eof()


async def test_large_heads_are_refused(tmp_path: Path) -> None:
    limits = {"max_header_bytes": 4096}
    async with running_proxy(tmp_path, NOWHERE, limits=limits) as proxy:
        async with raw_client(proxy) as (reader, writer):
            writer.write(get("echo", "/", "A: " + "a" * 5000))
            assert (await answer(reader))[0] == 431


async def test_connections_beyond_the_limit_are_told_so(tmp_path: Path) -> None:
    limits = {"max_connections": 2}
    async with proxied(tmp_path, raw_upstream(polite), limits=limits) as proxy:
        url = f"ws://127.0.0.1:{proxy.port}/"
        async with raw_client(proxy) as (reader, writer):
            async with connect(url):
                with pytest.raises(InvalidStatus) as refused:
                    await connect(url)
                assert refused.value.response.status_code == 503
                await proxy.logged("connection limit reached", max_connections=2)
                writer.write(get())  # those inside are not disturbed
                assert (await answer(reader))[0] == 200
            await proxy.logged("tls handshake failed")
            async with raw_client(proxy) as (second, other):
                other.write(get())
                assert (await answer(second))[0] == 200


async def test_connection_close_ends_with_close_notify_and_a_closing_handshake(
    tmp_path: Path,
) -> None:
    async with proxied(tmp_path, raw_upstream(polite)) as proxy:
        context = proxy.client_tls()
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname=f"echo.{DOMAIN}")
        async with connect(f"ws://127.0.0.1:{proxy.port}/", compression=None) as tunnel:
            request = get("echo", "/", "Connection: close")
            received = b""
            closed = False
            while not closed:
                try:
                    tls.do_handshake()
                    if request:
                        tls.write(request)
                        request = b""
                    data = tls.read(65536)
                    received += data
                    closed = not data  # how SSLObject reports close_notify
                except ssl.SSLWantReadError:
                    if data := outgoing.read():
                        await tunnel.send(data)
                    else:
                        incoming.write(await tunnel.recv(decode=False))
                if outgoing.pending:
                    await tunnel.send(outgoing.read())
            assert received.endswith(b"ok")
            with pytest.raises(ConnectionClosed):
                await tunnel.recv()
            assert tunnel.close_code == 1000


async def test_shutdown_lets_streams_finish_and_cuts_the_rest(tmp_path: Path) -> None:
    going = asyncio.Event()

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line, _ = await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe")
        await going.wait()
        if "finish" in line:
            writer.write(b"llo")
        await reader.read()

    async with proxied(tmp_path, raw_upstream(upstream), shutdown_timeout="6s") as proxy:
        async with raw_client(proxy) as (good, first), raw_client(proxy) as (bad, second):
            first.write(get("echo", "/finish"))
            second.write(get("echo", "/hang"))
            await good.readuntil(b"he")
            await bad.readuntil(b"he")
            proxy.terminate()
            await proxy.logged("stopping")
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", proxy.port)
            going.set()
            assert await asyncio.wait_for(good.read(), PATIENCE) == b"llo"
            assert await proxy.process.wait() == 0
            line = await proxy.logged("stopped")
            assert line["cut_requests"] == 1
            assert await ends(bad) == b""
