"""Peers that do what no honest peer does: no other client may notice."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from pathlib import Path

import pytest
from bridge import TunnelBridge
from h2.connection import H2Connection
from h2.events import ResponseReceived, StreamEnded, TrailersReceived
from h2.settings import SettingCodes
from running import DOMAIN, PATIENCE, SOON, RunningProxy, proxied
from tunnelled import answer, get, raw_client
from upstreams import plain_answer, raw_upstream, read_head

GET = [
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", f"echo.{DOMAIN}"),
    (":path", "/"),
]
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
EMPTY_BINARY = b"\x82\x80mask"
EMPTY_PING = b"\x89\x80mask"
H2_PING = b"\0\0\x08\x06\0\0\0\0\0" + bytes(8)
EMPTY_DATA = b"\0\0\0\0\0\0\0\0\x01"


async def polite(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await read_head(reader)
        writer.write(plain_answer(b"ok"))


async def test_an_unasked_response_answers_nobody(tmp_path: Path) -> None:
    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_head(reader)
            writer.write(plain_answer(b"asked") + plain_answer(b"unasked"))

    async with proxied(tmp_path, raw_upstream(upstream)) as proxy:
        async with raw_client(proxy) as (reader, writer):
            writer.write(get() * 5)  # each takes its connection at the end of the one before
            for _ in range(5):
                assert (await answer(reader))[2] == b"asked"


async def test_a_small_response_that_is_not_taken_is_given_up(tmp_path: Path) -> None:
    async with proxied(tmp_path, raw_upstream(polite), timeouts={"idle": SOON}) as proxy:
        async with raw_client(proxy, "echo", "h2") as (reader, writer):
            h2 = H2Connection()
            h2.initiate_connection()
            h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
            h2.send_headers(1, GET, end_stream=True)
            writer.write(h2.data_to_send())
            await proxy.logged("request finished", status=200)
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await asyncio.wait_for(reader.read(), PATIENCE)


async def test_trailers_of_an_answer_to_head_reach_nobody(tmp_path: Path) -> None:
    """Such an answer is over with its head; the rest comes with the same read."""

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        writer.write(head + b"0\r\nProxy-Status: mcp-proxy; error=x\r\nSet-Cookie: a=b\r\n\r\n")

    async with proxied(tmp_path, raw_upstream(upstream)) as proxy:
        async with raw_client(proxy, "echo", "h2") as (reader, writer):
            h2 = H2Connection()
            h2.initiate_connection()
            h2.send_headers(1, [(":method", "HEAD"), *GET[1:]], end_stream=True)
            writer.write(h2.data_to_send())
            seen: list[type] = []
            while StreamEnded not in seen:
                seen += map(type, h2.receive_data(await reader.read(65536)))
            assert ResponseReceived in seen
            assert TrailersReceived not in seen


async def test_answers_to_key_updates_do_not_pile_up(tmp_path: Path) -> None:
    """Each of them asks for another (RFC 8446 §4.6.3); nothing else is sent in either direction."""
    async with proxied(tmp_path, raw_upstream(polite)) as proxy, TunnelBridge(proxy.port) as port:
        peer = ("-connect", f"127.0.0.1:{port}", "-servername", f"echo.{DOMAIN}")
        process = await asyncio.create_subprocess_exec(
            *("openssl", "s_client", *peer, "-CAfile", str(proxy.ca_file), "-msg"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        sent, told = process.stdin, process.stdout
        assert sent
        assert told
        try:
            await asyncio.wait_for(told.readuntil(b"Verify return code"), PATIENCE)
            answers = 0
            for _ in range(400):
                sent.write(b"K\n")  # s_client's command, one for each of its reads
                while True:
                    line = await asyncio.wait_for(told.readline(), PATIENCE)
                    answers += line.startswith(b"<<<") and b"KeyUpdate" in line
                    if line.startswith(b">>>") and b"KeyUpdate" in line:
                        break
            # The last ones may wait: those of 4 KiB, 27 octets each.
            while answers < 200:
                line = await asyncio.wait_for(told.readline(), PATIENCE)
                answers += line.startswith(b"<<<") and b"KeyUpdate" in line
        finally:
            process.kill()
            await process.wait()


async def others_are_served(proxy: RunningProxy, seconds: float) -> None:
    """Ask for health, and for an answer of the same worker, again and again."""
    served = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end or served < 10:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.admin_port)
        writer.write(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert await reader.read()
        writer.close()
        async with raw_client(proxy) as (reader, writer):
            writer.write(get())
            assert (await answer(reader))[0] == 200
        served += 1
        await asyncio.sleep(0.05)


async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, block: bytes) -> None:
    """Send *block* again and again, and read what comes back."""
    answers = asyncio.ensure_future(reader.read())
    try:
        while True:
            writer.write(block)
            await writer.drain()
            await asyncio.sleep(0)
    finally:
        answers.cancel()


@pytest.mark.parametrize("frame", [EMPTY_BINARY, EMPTY_PING], ids=["empty", "ping"])
async def test_a_flood_of_websocket_frames(tmp_path: Path, frame: bytes) -> None:
    async with proxied(tmp_path, raw_upstream(polite)) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(UPGRADE)
        await reader.readuntil(b"\r\n\r\n")
        await survived(proxy, reader, writer, frame)


@pytest.mark.parametrize("frame", [H2_PING, EMPTY_DATA], ids=["ping", "data"])
async def test_a_flood_of_http2_frames(tmp_path: Path, frame: bytes) -> None:
    async with proxied(tmp_path, raw_upstream(polite)) as proxy:
        async with raw_client(proxy, "echo", "h2") as (reader, writer):
            h2 = H2Connection()
            h2.initiate_connection()
            h2.send_headers(1, [(":method", "POST"), *GET[1:]])
            writer.write(h2.data_to_send())
            await survived(proxy, reader, writer, frame)


async def survived(
    proxy: RunningProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, frame: bytes
) -> None:
    """Send *frame* for some seconds: memory stays small, and others are served meanwhile."""
    flooding = asyncio.ensure_future(flood(reader, writer, frame * 20_000))
    try:
        await others_are_served(proxy, 2.5)
        assert proxy.peak_rss() < 100_000_000
    finally:
        flooding.cancel()
        await asyncio.wait([flooding])
        writer.transport.abort()
