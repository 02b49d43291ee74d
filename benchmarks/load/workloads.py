"""The work that chains are measured with. Every response is checked: a broken run is an error."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

from benchmarks import BenchError
from benchmarks.figures import Sample, percentile
from benchmarks.load.client import (
    Answer,
    HttpConnection,
    TunnelConnection,
    connect_plain,
    connect_tunnel,
)
from benchmarks.processes import cpu_by_process, cpu_of_busiest, cpu_seconds, private_bytes
from benchmarks.rivals.chains import HOST, Chain, Site
from benchmarks.rivals.upstream import SMALL_ANSWER

MEGABYTE = 1_000_000
_BLOCK = bytes(32_000)  # one WebSocket message of an upload
_BLOCKS_PER_MEGABYTE = MEGABYTE // len(_BLOCK) + (MEGABYTE % len(_BLOCK) > 0)
SMALL_BODY = (
    b'{"jsonrpc":"2.0","id":17,"method":"tools/call",'
    b'"params":{"name":"search","arguments":{"query":"quick brown fox"}}}'
)
SMALL_FIELDS = (
    (b"user-agent", b"benchmark"),
    (b"accept", b"application/json, text/event-stream"),
    (b"content-type", b"application/json"),
    (b"mcp-protocol-version", b"2025-11-25"),
    (b"mcp-session-id", b"0123456789abcdef0123456789abcdef"),
)
_SMALL = (
    b"POST /mcp HTTP/1.1\r\nHost: %s\r\nUser-Agent: benchmark\r\n"
    b"Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\n"
    b"MCP-Protocol-Version: 2025-11-25\r\nMcp-Session-Id: 0123456789abcdef0123456789abcdef\r\n"
    b"Content-Length: %d\r\n\r\n%s"
)


_Connection = TypeVar("_Connection", bound=TunnelConnection)


@dataclass(frozen=True)
class Target:
    """A running chain as a workload sees it; ``host`` is the host of its requests."""

    chain: Chain
    context: ssl.SSLContext
    upstream_port: int
    host: str = HOST

    @classmethod
    def of(cls, chain: Chain, where: Site) -> Target:
        """A chain and the site that it serves."""
        return cls(chain, where.client_context(), where.upstream_port)

    async def connect(
        self, kind: type[_Connection], alpn: str, session: ssl.SSLSession | None = None
    ) -> _Connection:
        """A new inner TLS connection, or one that resumes; TLS 1.3 with the chain's suite."""
        self.context.set_alpn_protocols([alpn])
        connection = await connect_tunnel(self.chain.port, self.context, self.host, kind, session)
        cipher = connection.tls.cipher()
        if cipher is None or cipher[0] != self.chain.suite:
            raise BenchError(f"{self.chain.name} chose {cipher} and not {self.chain.suite}")
        if connection.tls.selected_alpn_protocol() != alpn:
            raise BenchError(f"{self.chain.name} does not speak {alpn}")
        if bool(connection.tls.session_reused) != (session is not None):
            raise BenchError(f"{self.chain.name} did not do the handshake that was asked for")
        return connection

    @contextlib.asynccontextmanager
    async def connections(
        self, count: int, session: ssl.SSLSession | None = None
    ) -> AsyncIterator[list[TunnelConnection]]:
        """That many connections, each of which has carried one request."""
        opened: list[TunnelConnection] = []
        try:
            for _ in range(count):
                opened.append(await self.connect(TunnelConnection, "http/1.1", session))
                await small_request(opened[-1])
            yield opened
        finally:
            for connection in opened:
                connection.transport.abort()


#: Measures one round: (chain, amount of work) -> figure in the workload's unit.
Measure = Callable[[Target, int], Awaitable[Sample]]


def _check(answer: Answer, length: int) -> None:
    if answer != Answer(200, length):
        raise BenchError(f"expected 200 and {length} bytes, got {answer}")


@functools.cache
def _small(host: str) -> bytes:
    return _SMALL % (host.encode(), len(SMALL_BODY), SMALL_BODY)


async def small_request(connection: TunnelConnection) -> None:
    """One request as an MCP client sends it, with a small answer."""
    _check(await connection.request(_small(connection.host)), len(SMALL_ANSWER))


async def cpu(target: Target, work: Awaitable[object], count: int, factor: float) -> Sample:
    """Runs ``work``, which is ``count`` operations: CPU time per operation times ``factor``."""
    before, begin = cpu_seconds(target.chain.children), time.monotonic()
    await work
    wall = time.monotonic() - begin
    after = cpu_seconds(target.chain.children)
    parts = {name: (after[name] - before[name]) / count * factor for name in before}
    return Sample(sum(parts.values()), parts, count / wall)


async def small_requests(target: Target, count: int) -> Sample:
    """Microseconds of CPU per small request on 32 keep-alive connections."""

    async def loop(connection: TunnelConnection, times: int) -> None:
        for _ in range(times):
            await small_request(connection)

    async with target.connections(32) as opened:
        times = max(1, count // len(opened))
        work = asyncio.gather(*(loop(connection, times) for connection in opened))
        return await cpu(target, work, times * len(opened), 1e6)


async def busiest_process(target: Target, count: int) -> Sample:
    """Microseconds of CPU in the chain's busiest process per small request of the chain.

    On 128 connections: enough for the kernel to spread them about evenly over the workers.
    """

    async def loop(connection: TunnelConnection, times: int) -> None:
        for _ in range(times):
            await small_request(connection)

    async with target.connections(128) as opened:
        times = max(1, count // len(opened))
        before, begin = cpu_by_process(target.chain.children), time.monotonic()
        await asyncio.gather(*(loop(connection, times) for connection in opened))
        wall = time.monotonic() - begin
        seconds = cpu_of_busiest(target.chain.children, before)
        done = times * len(opened)
        return Sample(seconds / done * 1e6, {target.chain.name: seconds}, done / wall)


async def new_connections(target: Target, count: int) -> Sample:
    """Microseconds of CPU per connection: upgrade, full handshake, one request; 4 at a time."""

    async def loop(times: int) -> None:
        for _ in range(times):
            async with target.connections(1):
                pass

    times = max(1, count // 4)
    return await cpu(target, asyncio.gather(*(loop(times) for _ in range(4))), 4 * times, 1e6)


async def resumed_connections(target: Target, count: int) -> Sample:
    """Microseconds of CPU per connection that resumes the one before it; 4 at a time."""

    async def loop(times: int, session: ssl.SSLSession | None) -> None:
        for _ in range(times):
            async with target.connections(1, session) as (connection,):
                session = connection.tls.session

    sessions: list[ssl.SSLSession | None] = []
    for _ in range(4):
        async with target.connections(1) as (connection,):
            sessions.append(connection.tls.session)
    times = max(1, count // 4)
    work = asyncio.gather(*(loop(times, session) for session in sessions))
    return await cpu(target, work, 4 * times, 1e6)


async def single_requests(target: Target, count: int) -> Sample:
    """Microseconds from a small request to its answer, nothing else going on: the median."""
    latencies: list[float] = []
    async with target.connections(1) as (connection,):
        for _ in range(count):
            begin = time.monotonic_ns()
            await small_request(connection)
            latencies.append((time.monotonic_ns() - begin) / 1e3)
    return Sample(median(latencies))


async def download(target: Target, megabytes: int) -> Sample:
    """Milliseconds of CPU per megabyte from the upstream, on 4 connections."""
    each = max(1, megabytes // 4)
    head = f"GET /bytes/{each * MEGABYTE} HTTP/1.1\r\nHost: {target.host}\r\n\r\n".encode()
    async with target.connections(4) as opened:
        work = asyncio.gather(*(connection.request(head) for connection in opened))
        sample = await cpu(target, work, 4 * each, 1e3)
    for answer in work.result():
        _check(answer, each * MEGABYTE)
    return sample


async def upload(target: Target, megabytes: int) -> Sample:
    """Milliseconds of CPU per megabyte to the upstream, on 4 connections."""
    blocks = max(1, megabytes // 4) * _BLOCKS_PER_MEGABYTE
    length = blocks * len(_BLOCK)
    head = (
        f"POST /sink HTTP/1.1\r\nHost: {target.host}\r\nContent-Length: {length}\r\n\r\n".encode()
    )
    received: list[bytes] = []
    async with target.connections(4) as opened:
        work = asyncio.gather(
            *(c.request(head, blocks, _BLOCK, on_body=received.append) for c in opened)
        )
        sample = await cpu(target, work, 4 * blocks, 1e3 * MEGABYTE / len(_BLOCK))
    for answer in work.result():
        _check(answer, len(str(length)))
    if b"".join(received) != str(length).encode() * 4:
        raise BenchError(f"the upstream received {received} bytes of {length} in each upload")
    return Sample(sample.value, sample.parts, sample.rate * len(_BLOCK) / MEGABYTE)


async def events(target: Target, count: int, percent: float) -> Sample:
    """Milliseconds that the chain adds to an event: a percentile minus the direct way's median."""
    plain = [await connect_plain(target.upstream_port) for _ in range(_STREAMS)]
    direct = await _event_latencies(plain, count)
    for connection in plain:
        connection.transport.abort()
    async with target.connections(_STREAMS) as opened:
        through = await _event_latencies(opened, count)
    return Sample(percentile(through, percent) - median(direct))


_STREAMS = 50
_EVENT_MILLISECONDS = 40


async def _event_latencies(
    connections: list[TunnelConnection] | list[HttpConnection], count: int
) -> list[float]:
    """Milliseconds from the upstream's write to the client's read, for each event."""
    head = f"GET /events/{count}/{_EVENT_MILLISECONDS} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
    latencies: list[float] = []

    def arrived(body: bytes) -> None:
        now = time.monotonic_ns()
        for event in body.split(b"\n\n")[:-1]:
            latencies.append((now - int(event.removeprefix(b"data: "))) / 1e6)

    async def stream(connection: HttpConnection, delay: float) -> None:
        await asyncio.sleep(delay)
        answer = await connection.request(head, on_body=arrived)
        if answer.status != 200:
            raise BenchError(f"an event stream was answered with {answer}")

    step = _EVENT_MILLISECONDS / 1000 / len(connections)  # events spread over the interval
    await asyncio.gather(*(stream(c, i * step) for i, c in enumerate(connections)))
    if len(latencies) != count * len(connections):
        raise BenchError(f"{len(latencies)} of {count * len(connections)} events came through")
    return latencies


async def idle_memory(target: Target, count: int) -> Sample:
    """Kilobytes that the chain keeps per idle connection that has carried one request.

    Counted from 100 idle connections upwards: the first ones fit into memory
    that the start and its garbage have left behind.
    """
    async with target.connections(100):
        before = private_bytes(target.chain.children)
        async with target.connections(count):
            grown = private_bytes(target.chain.children) - before
    return Sample(grown / count / 1000)
