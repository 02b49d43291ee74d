"""The proxy's bench: every workload on both chains in turn."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import uvloop

from benchmarks import BenchError
from benchmarks.figures import Comparison, Sample, compare
from benchmarks.load import http2, workloads
from benchmarks.load.workloads import Measure, Target
from benchmarks.rivals.chains import (
    ChainFactory,
    Site,
    compiled_chain,
    haproxy_chain,
    proxy_chain,
    site,
    two_worker_chain,
)
from benchmarks.rivals.go_chain import go_chain

_Chain = TypeVar("_Chain")


#: Ours, then its rivals: each is compared with ours.
_CHAINS: tuple[ChainFactory, ...] = (proxy_chain, haproxy_chain, go_chain)
_COMPILED: tuple[ChainFactory, ...] = (compiled_chain, haproxy_chain, go_chain)


@dataclass(frozen=True)
class Row:
    """A workload with its amount per round.

    :param fresh: each round needs a newly started chain (memory only ever grows)
    :param chains: ours, and those that it is compared with
    """

    key: str
    title: str
    unit: str
    measure: Measure
    amount: int
    fresh: bool = False
    chains: tuple[ChainFactory, ...] = _CHAINS

    def comparisons(self) -> list[tuple[str, str]]:
        """Key and title for each rival, in the order of the chains."""
        return [(self.key, self.title), (f"{self.key}_go", "  beside Go")][: len(self.chains) - 1]

    def compiled(self) -> Row:
        """The same work for our proxy as mypyc compiles it."""
        title = f"{self.title}, compiled"
        return replace(self, key=f"{self.key}_compiled", title=title, chains=_COMPILED)


_EVENTS_P50 = functools.partial(workloads.events, percent=50)
_EVENTS_P99 = functools.partial(workloads.events, percent=99)

_TRAFFIC = (
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
    Row("single_request", "one request alone, p50", "µs", workloads.single_requests, 800),
    Row("new_connection", "CPU per new inner-TLS connection", "µs", workloads.new_connections, 200),
    Row("resumed_connection", "CPU per resumed one", "µs", workloads.resumed_connections, 200),
    Row(
        "new_connection_http2",
        "CPU per new connection, HTTP/2 inside",
        "µs",
        http2.new_connections,
        200,
    ),
    Row("download", "CPU per MB down", "ms", workloads.download, 128),
    Row("upload", "CPU per MB up", "ms", workloads.upload, 128),
    Row("event_latency_p50", "added SSE latency, 50 streams, p50", "ms", _EVENTS_P50, 25),
    Row("event_latency", "added SSE latency, 50 streams, p99", "ms", _EVENTS_P99, 25),
)

ROWS = (
    *_TRAFFIC,
    *(row.compiled() for row in _TRAFFIC),
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


#: Called with key, title and figures of each comparison when it is complete.
Done = Callable[[str, str, Comparison], None]


def run(rounds: int, scale: float, done: Done) -> dict[str, Comparison]:
    """Measures every row.

    :param rounds: measurements of each chain per row
    :param scale: factor on the amount of work of each round
    :raises BenchError: something did not work; no figure is given then
    """
    return uvloop.run(_run(rounds, scale, done))


async def _run(rounds: int, scale: float, done: Done) -> dict[str, Comparison]:
    results: dict[str, Comparison] = {}
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mcp-bench-")))
        where = stack.enter_context(site(directory))
        running: dict[ChainFactory, Target] = {}
        for row in ROWS:
            for make in row.chains:
                if make not in running and not row.fresh:
                    running[make] = Target.of(stack.enter_context(make(where)), where)
            taken = await _measure(row, rounds, max(1, round(row.amount * scale)), running, where)
            for (key, title), rival in zip(row.comparisons(), row.chains[1:], strict=True):
                try:
                    pairs = [(each[row.chains[0]], each[rival]) for each in taken]
                    results[key] = compare(row.unit, pairs)
                except ValueError as error:
                    raise BenchError(f"{row.title}: {error}") from error
                done(key, title, results[key])
    return results


async def _measure(
    row: Row, rounds: int, amount: int, running: dict[ChainFactory, Target], where: Site
) -> list[dict[ChainFactory, Sample]]:
    """What each chain needed in each round."""
    if not row.fresh:
        for make in row.chains:
            await row.measure(running[make], max(1, amount // 10))  # warms up
    taken: list[dict[ChainFactory, Sample]] = []
    for turn in range(rounds):
        samples: dict[ChainFactory, Sample] = {}
        for make in in_turn(row.chains, turn):
            if row.fresh:
                samples[make] = await _measure_fresh(row, make, where, amount)
            else:
                samples[make] = await row.measure(running[make], amount)
        taken.append(samples)
    return taken


def in_turn(chains: Sequence[_Chain], turn: int) -> list[_Chain]:
    """The order of a round: each chain is first, last and after each other one equally often.

    So a machine that slows down or speeds up favours none.
    """
    first = turn % len(chains)
    order = [*chains[first:], *chains[:first]]
    return order[::-1] if turn // len(chains) % 2 else order


async def _measure_fresh(row: Row, make: ChainFactory, where: Site, amount: int) -> Sample:
    with make(where) as chain:
        sample = await row.measure(Target.of(chain, where), amount)
        await asyncio.sleep(0)  # the closed connections' callbacks
        return sample
