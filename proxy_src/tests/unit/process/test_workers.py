"""Workers: when one counts as hung, how soon it is replaced, and the share of each."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mcp_proxy.config import model as settings
from mcp_proxy.process.channel import Channel
from mcp_proxy.process.worker_pool import WorkerPool, with_share
from mcp_proxy.process.worker_process import (
    FIRST_PATIENCE,
    PATIENCE,
    WorkerProcess,
    worker_environment,
)
from mcp_proxy.tls.certificates import read_pair
from mcp_proxy.watch.metrics import Metrics
from pki import Authority


@pytest.fixture
def pool(tmp_path: Path) -> WorkerPool:
    tls = settings.Tls(*Authority().issue("a.example").write(tmp_path))
    config = settings.Config(settings.Address("", 0), tls, {}, workers=1)
    return WorkerPool([], config, read_pair(tls), Metrics())


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


async def test_a_worker_that_gives_no_sign_of_life_is_killed(
    child: subprocess.Popen[bytes],
) -> None:
    worker = WorkerProcess(0, lambda *_: None)
    worker._child = child
    worker.ready.set()
    for _ in range(PATIENCE):
        worker.beat()
    assert not worker.answers
    worker._on_message({"kind": "alive", "counts": {}, "process": {}})
    assert worker.answers
    for _ in range(PATIENCE):
        worker.beat()
    assert child.poll() is None
    worker.beat()
    assert child.wait(60) == -signal.SIGKILL
    assert worker.why_it_ended() == "silent"


@pytest.mark.parametrize(
    ("signs", "beats"), [((), FIRST_PATIENCE), (("alive",), PATIENCE)], ids=["loading", "loaded"]
)
async def test_a_worker_has_longer_for_its_first_sign_of_life(
    child: subprocess.Popen[bytes],
    monkeypatch: pytest.MonkeyPatch,
    signs: tuple[str, ...],
    beats: int,
) -> None:
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(WorkerProcess, "_spawn", lambda *_: (ours, child))
    with theirs:
        worker = WorkerProcess(0, lambda *_: None)
        await worker.start([])
        for sign in signs:
            worker._on_message({"kind": sign, "counts": {}, "process": {}})
        for _ in range(beats):
            worker.beat()
        assert child.poll() is None
        worker.beat()
        assert child.wait(5) == -signal.SIGKILL
    await asyncio.wait_for(worker.ended.wait(), 20)


async def test_a_worker_of_another_release_that_does_not_end_is_killed(pool: WorkerPool) -> None:
    pid = os.posix_spawn("/bin/sleep", ["sleep", "600"], os.environ)  # noqa: ASYNC221 - does not wait
    await pool.adopt([(pid, -1)], 0.1)
    assert await asyncio.wait_for(pool.ended(), 60) == 0
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_worker_that_is_being_started_is_not_forgotten(
    pool: WorkerPool, monkeypatch: pytest.MonkeyPatch, child: subprocess.Popen[bytes]
) -> None:
    going_on = asyncio.Event()

    async def connect(channel: Channel, sock: socket.socket) -> None:
        await going_on.wait()
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Channel, "connect", connect)
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(WorkerProcess, "_spawn", lambda *_: (ours, child))
    monkeypatch.setattr(pool, "_sockets", [theirs])
    starting = asyncio.ensure_future(pool._start_one(0))
    await asyncio.sleep(0)
    assert pool.hand_over(30.0) == [(child.pid, -1)]
    ended = asyncio.ensure_future(pool.ended())
    await asyncio.sleep(0)
    assert not ended.done()
    going_on.set()
    with pytest.raises(OSError, match="Too many open files"):
        await starting
    assert await ended == 0
    assert pool.hand_over(30.0) == []
    ours.close()
    theirs.close()


async def test_what_fails_again_and_again_is_started_ever_more_slowly(
    pool: WorkerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    delays = []

    async def start_later(number: int, delay: float) -> None:
        delays.append(delay)

    monkeypatch.setattr(pool, "_start_later", start_later)

    async def ended(lived: float) -> None:
        worker = WorkerProcess(0, lambda *_: None)
        worker.started -= lived
        pool._workers[0] = worker
        pool._replace(worker)
        await asyncio.sleep(0)

    for _ in range(9):
        await ended(1)
    assert delays == [0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5]
    await ended(60)
    await ended(1)
    assert delays[-2:] == [0, 0]


@pytest.mark.parametrize(
    ("most", "workers", "shares"), [(4096, 2, [2048, 2048]), (5, 3, [2, 2, 1]), (1, 2, [1, 1])]
)
def test_connections_are_shared_out(most: int, workers: int, shares: list[int]) -> None:
    tls = settings.Tls("", "")
    limits = settings.Limits(max_connections=most)
    config = settings.Config(settings.Address("", 0), tls, {}, limits=limits, workers=workers)
    got = [with_share(config, n, workers).limits.max_connections for n in range(workers)]
    assert got == shares


def test_limits_of_routes_are_shared_out() -> None:
    options = {
        "a": settings.RouteOptions(max_in_flight=5, rate=settings.Rate(5, 60.0), paths=("/x",)),
        "b": settings.RouteOptions(max_body_bytes=5),
    }
    config = settings.Config(settings.Address("", 0), settings.Tls("", ""), {}, options, workers=2)
    first, second = (with_share(config, number, 2).route_options for number in range(2))
    assert [own["a"].max_in_flight for own in (first, second)] == [3, 2]
    assert first["a"].rate == second["a"].rate == settings.Rate(2.5, 60.0)
    assert first["a"].paths == ("/x",)
    assert first["b"] == second["b"] == options["b"]


# Makes and frees, 500 times, the buffers that pass on 256 KiB: what was read, what was encrypted,
# the frames. The number of page faults says how often memory came from the system.
_BUFFERS = """
import resource
def turn():
    kept = [bytes(1 << 18), bytes(1 << 18), bytes(1 << 18)]
turn()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(500):
    turn()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _page_faults(environment: dict[str, str]) -> int:
    command = [sys.executable, "-IS", "-c", _BUFFERS]
    return int(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)


def test_a_worker_keeps_the_memory_of_its_buffers() -> None:
    ours = {"PATH": "/usr/bin"}
    kept, given_back = _page_faults(worker_environment(ours)), _page_faults(ours)
    assert kept < given_back / 10, "with the default settings it keeps as much"


def test_what_a_worker_inherits() -> None:
    ours = {"PATH": "/usr/bin", "NOTIFY_SOCKET": "/run/x", "MALLOC_TRIM_THRESHOLD_": "1"}
    theirs = worker_environment(ours)
    assert theirs["PATH"] == "/usr/bin"
    assert theirs["MALLOC_TRIM_THRESHOLD_"] == "1", "the operator's word counts"
    assert "NOTIFY_SOCKET" not in theirs
