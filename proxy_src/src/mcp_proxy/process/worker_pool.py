"""The workers of one supervisor: as many as configured, each replaced when it ends."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from ..config.model import Config, RouteOptions
from ..config.wire import to_wire
from ..tls import ticket_keys
from ..tls.certificates import Pair
from ..watch import log
from ..watch.metrics import Metrics, Snapshot
from ..watch.snapshots import unite, without_gauges
from . import listening
from .control import HEARTBEAT
from .worker_process import Handle, WorkerProcess

_FIRST_DELAY = 0.1
_LONGEST_DELAY = 5.0
_STEADY = 10.0
"""Seconds that a worker must have lived for its successor to start at once."""

_COUNT_SECONDS = 1.0


class WorkerEnded(Exception):
    """A worker ended before it was ready."""


class WorkerPool:
    """See the module."""

    def __init__(
        self, sockets: Sequence[socket.socket], config: Config, pair: Pair, metrics: Metrics
    ) -> None:
        """Spread *sockets* over the workers; *metrics* counts those that had to be replaced."""
        self._sockets = sockets
        self._config = config
        self._pair = pair
        self._ticket_key = ticket_keys.new_key()
        self._metrics = metrics
        self._workers: list[WorkerProcess | None] = [None] * config.workers
        self._failures = [0] * config.workers
        self._starting: set[WorkerProcess] = set()  # the process runs, and knows nothing yet
        self._leaving: set[WorkerProcess] = set()
        self._adopted: set[WorkerProcess] = set()
        self._past: Snapshot = {}
        self._tasks: set[asyncio.Future[Any]] = set()
        self._beating: asyncio.Task[None] | None = None
        self._stopping = False

    async def start(self) -> None:
        """Start all workers. Raises :class:`WorkerEnded` if one of them cannot."""
        self._beating = asyncio.ensure_future(self._beat())
        started = [await self._start_one(number) for number in range(len(self._workers))]
        for worker in started:
            await _first(worker.ready.wait(), worker.ended.wait())
            if not worker.ready.is_set():
                raise WorkerEnded(f"worker {worker.number + 1}: {worker.how_it_ended()}")

    async def adopt(self, handles: Iterable[Handle], seconds: float) -> None:
        """Watch workers of the release that this process was before; they drain.

        Those that have not ended after *seconds* are killed, and those that hang, like any other.
        """
        loop = asyncio.get_running_loop()
        for handle in handles:
            worker = WorkerProcess(-1, self._on_change_of_adopted)
            self._adopted.add(worker)
            await worker.adopt(handle)
            loop.call_later(seconds, worker.kill)

    def hand_over(self, seconds: float) -> list[Handle]:
        """Let all workers finish within *seconds*; return what another release needs for that."""
        for worker in self._alive():
            if not worker.left.is_set():
                worker.drain(seconds)
        return [worker.handle for worker in self._everybody()]

    async def apply(self, config: Config | None = None, pair: Pair | None = None) -> None:
        """Have all workers go on with *config*, with *pair*, or both; they are in use on return."""
        self._config = config or self._config
        parts = ["config"] if config else []
        if pair is not None:
            self._pair = pair
            self._ticket_key = ticket_keys.new_key()
            parts += ["pair", "tickets"]
        await self._send(*parts)

    async def rotate_tickets(self) -> None:
        """Have all workers encrypt session tickets with another key; it is in use on return."""
        self._ticket_key = ticket_keys.new_key()
        await self._send("tickets")

    async def _send(self, *parts: str) -> None:
        sent = [worker.apply(self._settings(worker.number, *parts)) for worker in self._alive()]
        if sent:
            await asyncio.wait(sent)

    def trouble(self) -> str:
        """Which worker does not take requests, ``""`` if all do."""
        for number, worker in enumerate(self._workers):
            if worker is None or not worker.answers:
                return f"worker {number + 1} of {len(self._workers)} does not answer"
        return ""

    async def count(self) -> tuple[Snapshot, dict[str, dict[str, float]]]:
        """Return the counts of all workers together, and the cost of each by its number."""
        asked = [worker.count() for worker in self._alive()]
        if asked:
            await asyncio.wait(asked, timeout=_COUNT_SECONDS)
        counts = unite([self._past, *(worker.counts for worker in self._alive())])
        costs = {
            str(worker.number + 1): worker.process for worker in self._workers if worker is not None
        }
        return counts, costs

    async def stop_accepting(self, seconds: float) -> None:
        """Stop all workers from accepting, and wait for that; each has *seconds* to finish."""
        self._stopping = True
        workers = [worker for worker in self._alive() if not worker.left.is_set()]
        for worker in workers:
            worker.drain(seconds)
        for worker in workers:
            await _first(worker.left.wait(), worker.ended.wait())

    def hurry(self) -> None:
        """Let all workers end now."""
        for worker in self._everybody():
            worker.drain(0)

    async def ended(self) -> int:
        """Wait for the last worker to end; return how many requests were cut."""
        cut = 0
        workers = self._everybody()
        for worker in workers:
            await worker.ended.wait()
            cut += worker.cut
        return cut

    async def kill(self) -> None:
        """End everything at once."""
        self._stopping = True
        tasks = [*self._tasks, *([self._beating] if self._beating else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for worker in self._everybody():
            worker.kill()
        for worker in self._everybody():
            await worker.ended.wait()

    # -- one of them -------------------------------------------------------------------------

    def _alive(self) -> list[WorkerProcess]:
        """Those of this release, which know its messages."""
        return [worker for worker in self._workers if worker is not None] + list(self._leaving)

    def _everybody(self) -> list[WorkerProcess]:
        return self._alive() + list(self._starting) + list(self._adopted)

    async def _start_one(self, number: int) -> WorkerProcess:
        worker = WorkerProcess(number, self._on_change)
        self._starting.add(worker)
        try:
            await worker.start(listening.share(self._sockets, number, len(self._workers)))
        finally:
            self._starting.discard(worker)
        if self._stopping:
            worker.kill()
        else:
            self._workers[number] = worker
            worker.apply(self._settings(number, "config", "pair", "tickets"))
        return worker

    def _settings(self, number: int, *parts: str) -> dict[str, Any]:
        settings: dict[str, Any] = {}
        if "pair" in parts:
            chain, key = self._pair.chain.decode("latin-1"), self._pair.key.decode("latin-1")
            settings["pair"] = {"chain": chain, "key": key}
        if "tickets" in parts:
            settings["tickets"] = self._ticket_key.hex()
        if "config" in parts:
            settings["config"] = to_wire(with_share(self._config, number, len(self._workers)))
        return settings

    def _on_change(self, worker: WorkerProcess, what: str) -> None:
        fields = {"worker": worker.number + 1, "pid": worker.pid}
        if what == "ready":
            log.event(log.logger, log.INFO, "worker ready", **fields)
        elif what == "leaving" and not self._stopping:
            self._leaving.add(worker)
            log.event(log.logger, log.INFO, "worker leaves", **fields)
            self._replace(worker)
        elif what == "ended":
            self._past = unite([self._past, without_gauges(worker.counts)])
            if worker in self._leaving or self._stopping:
                self._leaving.discard(worker)
                if worker.silent:
                    _tell_end(worker.how_it_ended(), **fields)
                return
            _tell_end(worker.how_it_ended(), **fields)
            self._metrics.worker_restarted(worker.why_it_ended())
            self._replace(worker)
        ready = sum(w is not None and w.ready.is_set() for w in self._workers)
        self._metrics.worker_count(ready, len(self._workers))

    def _on_change_of_adopted(self, worker: WorkerProcess, what: str) -> None:
        if what == "ended":
            self._adopted.discard(worker)
            if worker.silent:
                _tell_end(worker.how_it_ended(), pid=worker.pid)

    def _replace(self, worker: WorkerProcess) -> None:
        number = worker.number
        if self._workers[number] is not worker:
            return
        self._workers[number] = None
        lived = asyncio.get_running_loop().time() - worker.started
        self._failures[number] = 0 if lived >= _STEADY else self._failures[number] + 1
        failures = self._failures[number]
        # One failure may be an accident; repeated failures must not eat the machine.
        delay = min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** (failures - 2)) if failures > 1 else 0.0
        task = asyncio.ensure_future(self._start_later(number, delay))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _start_later(self, number: int, delay: float) -> None:
        await asyncio.sleep(delay)
        while not self._stopping:
            try:
                await self._start_one(number)
            except OSError as error:
                # The system is short of processes or descriptors: that may pass.
                problem = error.strerror or str(error)
                log.event(log.logger, log.ERROR, "worker cannot be started", problem=problem)
                await asyncio.sleep(_LONGEST_DELAY)
            else:
                return

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT)
            for worker in self._everybody():
                worker.beat()


def with_share(config: Config, worker: int, workers: int) -> Config:
    """Return *worker*'s *config* (from 0, of *workers*).

    All of them share ``max_connections``, and ``max_in_flight`` and ``rate`` of each route.
    """
    limits = config.limits
    limits = replace(limits, max_connections=_share(limits.max_connections, worker, workers))
    options = {
        name: _options_with_share(own, worker, workers)
        for name, own in config.route_options.items()
    }
    return replace(config, limits=limits, route_options=options)


def _options_with_share(options: RouteOptions, worker: int, workers: int) -> RouteOptions:
    if (most := options.max_in_flight) is not None:
        options = replace(options, max_in_flight=_share(most, worker, workers))
    if (rate := options.rate) is not None:
        options = replace(options, rate=replace(rate, requests=rate.requests / workers))
    return options


def _share(most: int, worker: int, workers: int) -> int:
    return max(1, most // workers + (worker < most % workers))


def _tell_end(how: str, **fields: int) -> None:
    log.event(log.logger, log.ERROR, "worker ended", how=how, **fields)


async def _first(*events: Any) -> None:
    """Wait until one of these has happened."""
    tasks = [asyncio.ensure_future(event) for event in events]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
