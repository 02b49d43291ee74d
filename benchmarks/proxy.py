"""The proxy's bench: every workload on both chains in turn."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import uvloop

from benchmarks import BenchError
from benchmarks.figures import Comparison, Sample, compare
from benchmarks.load import http2, workloads
from benchmarks.load.workloads import Measure, Target
from benchmarks.rivals.chains import (
    ChainFactory,
    Site,
    haproxy_chain,
    proxy_chain,
    site,
    two_worker_chain,
)


@dataclass(frozen=True)
class Row:
    """A workload with its amount per round.

    :param fresh: each round needs a newly started chain (memory only ever grows)
    :param chains: ours, and the one that it is compared with
    """

    key: str
    title: str
    unit: str
    measure: Measure
    amount: int
    fresh: bool = False
    chains: tuple[ChainFactory, ChainFactory] = (proxy_chain, haproxy_chain)


ROWS = (
    Row("small_request", "CPU per small request", "µs", workloads.small_requests, 3200),
    Row(
        "small_request_http2",
        "CPU per small request, HTTP/2 inside",
        "µs",
        http2.small_requests,
        3200,
    ),
    Row(
        "small_request_http2_streams",
        "CPU per small request, HTTP/2, 32 streams",
        "µs",
        http2.small_requests_multiplexed,
        3200,
    ),
    Row("new_connection", "CPU per new inner-TLS connection", "µs", workloads.new_connections, 200),
    Row(
        "new_connection_http2",
        "CPU per new connection, HTTP/2 inside",
        "µs",
        http2.new_connections,
        200,
    ),
    Row("download", "CPU per MB down", "ms", workloads.download, 128),
    Row("upload", "CPU per MB up", "ms", workloads.upload, 128),
    Row("event_latency", "added SSE latency, 50 streams, p99", "ms", workloads.events, 25),
    Row("idle_memory", "memory per idle connection", "kB", workloads.idle_memory, 600, fresh=True),
    Row(
        "two_workers",
        "busiest process per request, 2 workers / 1",
        "µs",
        workloads.busiest_process,
        6400,
        chains=(two_worker_chain, proxy_chain),
    ),
)


def run(
    rounds: int, scale: float, done: Callable[[Row, Comparison], None]
) -> dict[str, Comparison]:
    """Measures every row.

    :param rounds: pairs of measurements per row
    :param scale: factor on the amount of work of each round
    :param done: called with each row when it is complete
    :raises BenchError: something did not work; no figure is given then
    """
    return uvloop.run(_run(rounds, scale, done))


async def _run(
    rounds: int, scale: float, done: Callable[[Row, Comparison], None]
) -> dict[str, Comparison]:
    results: dict[str, Comparison] = {}
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mcp-bench-")))
        where = stack.enter_context(site(directory))
        running: dict[ChainFactory, Target] = {}
        for row in ROWS:
            for make in row.chains:
                if make not in running and not row.fresh:
                    running[make] = Target.of(stack.enter_context(make(where)), where)
            amount = max(1, round(row.amount * scale))
            pairs: list[tuple[Sample, Sample]] = []
            if not row.fresh:
                for make in row.chains:
                    await row.measure(running[make], max(1, amount // 10))  # warms up
            for turn in range(rounds):
                taken: dict[int, Sample] = {}
                for which in (0, 1) if turn % 2 else (1, 0):  # so that drift favours neither
                    make = row.chains[which]
                    if row.fresh:
                        taken[which] = await _measure_fresh(row, make, where, amount)
                    else:
                        taken[which] = await row.measure(running[make], amount)
                pairs.append((taken[0], taken[1]))
            try:
                results[row.key] = compare(row.unit, pairs)
            except ValueError as error:
                raise BenchError(f"{row.title}: {error}") from error
            done(row, results[row.key])
    return results


async def _measure_fresh(row: Row, make: ChainFactory, where: Site, amount: int) -> Sample:
    with make(where) as chain:
        sample = await row.measure(Target.of(chain, where), amount)
        await asyncio.sleep(0)  # the closed connections' callbacks
        return sample
