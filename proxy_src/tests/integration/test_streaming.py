"""Streams: events that leave at once, bodies larger than any memory, readers that are slow."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from h2.connection import H2Connection
from h2.events import DataReceived, StreamEnded
from running import DOMAIN, PATIENCE, proxied
from tunnelled import VERSIONS, client, curl, get, raw_client
from upstreams import asgi_upstream, raw_upstream, read_head

URL = f"https://echo.{DOMAIN}/"
MIB = 1 << 20


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_event_leaves_before_the_next_one_is_made(tmp_path: Path, version: str) -> None:
    """The upstream sends each event only after the client has seen the one before."""
    seen = asyncio.Semaphore(0)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        fields = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        for number in range(20):
            event = b"id: %d\ndata: x\n\n" % number
            await send({"type": "http.response.body", "body": event, "more_body": True})
            await seen.acquire()
        await send({"type": "http.response.body", "body": b""})

    async with proxied(tmp_path, asgi_upstream(app)) as proxy:
        async with (
            client(proxy, version) as http,
            http.stream("GET", URL) as reply,
        ):
            assert reply.headers["content-type"] == "text/event-stream"
            ids = []
            async for line in reply.aiter_lines():
                if line.startswith("id: "):
                    ids.append(int(line[4:]))
                    seen.release()
    assert ids == list(range(20))


async def serve_bulk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """GET /n: n bytes; PUT: says how many bytes it got."""
    line, fields = await read_head(reader)
    if line.startswith("GET"):
        size = int(line.split()[1][1:])
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size)
        block = bytes(MIB // 4)
        for _ in range(size // len(block)):
            writer.write(block)
            await writer.drain()
    else:
        if "expect" in fields:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        left = int(fields["content-length"])
        got = 0
        while got < left:
            data = await reader.read(MIB)
            assert data
            got += len(data)
        text = b"%d" % got
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text))
    await writer.drain()


@pytest.mark.parametrize("version", VERSIONS)
async def test_large_bodies_pass_through_little_memory(tmp_path: Path, version: str) -> None:
    size = 256 * MIB
    sparse = tmp_path / "sparse"
    sparse.touch()
    os.truncate(sparse, size)
    async with proxied(tmp_path, raw_upstream(serve_bulk)) as proxy:
        out = await curl(
            proxy, f"echo/{size}", "-o", "/dev/null", "-w", "%{size_download}", version=version
        )
        assert int(out) == size
        assert int(await curl(proxy, "echo/", "-T", str(sparse), version=version)) == size
        assert proxy.peak_rss() < 100_000_000


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_upstream_that_closes_after_its_answer_loses_nothing_of_it(
    tmp_path: Path, version: str
) -> None:
    """Its FIN arrives long before a slow client has taken the bytes before it."""
    size = 8 * MIB

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        writer.write(bytes(size))  # and that was all, as far as the handler is concerned

    async with proxied(tmp_path, raw_upstream(upstream)) as proxy:
        out = await curl(
            proxy,
            "echo/",
            *("-o", "/dev/null", "-w", "%{size_download}", "--limit-rate", "4M"),
            version=version,
        )
    assert int(out) == size


async def test_a_slow_reader_stops_the_upstream(tmp_path: Path) -> None:
    sent = 0
    stuck = asyncio.Event()

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while sent < 400 * MIB:
            writer.write(bytes(MIB))
            sent += MIB
            drained = asyncio.ensure_future(writer.drain())
            _, waiting = await asyncio.wait([drained], timeout=2)
            if waiting:
                stuck.set()
            await drained

    async with proxied(tmp_path, raw_upstream(upstream)) as proxy:
        async with raw_client(proxy) as (reader, writer):
            writer.write(get())
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.wait_for(stuck.wait(), PATIENCE)
            held = sent
            assert held < 100 * MIB
            got = 0
            while got < held + 10 * MIB:  # it goes on once the client reads
                data = await reader.read(MIB)
                assert data
                got += len(data)
        assert proxy.peak_rss() < 100_000_000


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_slow_upstream_stops_the_client(tmp_path: Path, version: str) -> None:
    release = asyncio.Event()
    got = 0

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal got
        await read_head(reader)
        await release.wait()
        while not (await reader.read(MIB)).endswith(b"0\r\n\r\n"):
            pass
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    given = 0
    stuck = asyncio.Event()

    async def content() -> Any:
        nonlocal given
        for _ in range(40):
            timer = asyncio.get_running_loop().call_later(2, stuck.set)
            yield bytes(MIB)
            timer.cancel()
            given += 1

    async with proxied(tmp_path, raw_upstream(upstream)) as proxy:
        async with client(proxy, version) as http:
            url = f"https://echo.{DOMAIN}/"
            task = asyncio.ensure_future(http.post(url, content=content()))
            await asyncio.wait_for(stuck.wait(), PATIENCE)
            assert given < 30
            release.set()
            assert (await task).text == "ok"
            assert given == 40
        assert proxy.peak_rss() < 100_000_000


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_client_that_leaves_ends_the_upstream_request(tmp_path: Path, version: str) -> None:
    ended = asyncio.Event()

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        assert await reader.read() == b""
        ended.set()

    async with proxied(tmp_path, raw_upstream(upstream)) as proxy:
        async with (
            client(proxy, version) as http,
            http.stream("GET", URL) as reply,
        ):
            async for _ in reply.aiter_bytes():
                break
        await asyncio.wait_for(ended.wait(), PATIENCE)
        line = await proxy.logged("request finished", status=200)
        assert "client left" in line["error"]


async def test_a_client_that_widens_its_window_only_when_it_is_empty(tmp_path: Path) -> None:
    """Only its window update can wake the connection then."""
    size = MIB
    async with proxied(tmp_path, raw_upstream(serve_bulk)) as proxy:
        async with raw_client(proxy, "echo", "h2") as (reader, writer):
            h2 = H2Connection()
            h2.initiate_connection()
            fields = [(":method", "GET"), (":scheme", "https"), (":path", f"/{size}")]
            h2.send_headers(1, [*fields, (":authority", f"echo.{DOMAIN}")], end_stream=True)
            received = owed = 0
            ended = False
            while not ended:
                writer.write(h2.data_to_send())
                data = await asyncio.wait_for(reader.read(65536), PATIENCE)
                assert data, proxy.transcript()
                for event in h2.receive_data(data):
                    if isinstance(event, DataReceived):
                        received += len(event.data)
                        owed += event.flow_controlled_length
                    ended = ended or isinstance(event, StreamEnded)
                if not ended and not h2.remote_flow_control_window(1):
                    h2.increment_flow_control_window(owed)
                    h2.increment_flow_control_window(owed, 1)
                    owed = 0
    assert received == size
