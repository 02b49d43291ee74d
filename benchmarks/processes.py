"""Child processes of a benchmark: started, measured (CPU, memory), always ended."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks import BenchError

START_SECONDS = 20.0
STOP_SECONDS = 5.0


class Measured(Protocol):
    """Processes that a figure is about, under one name."""

    @property
    def name(self) -> str: ...

    def pids(self) -> list[int]:
        """Their ids. Raises BenchError when they have ended."""
        ...


@dataclass(frozen=True)
class Running:
    """A process that something else has started."""

    name: str
    pid: int

    def pids(self) -> list[int]:
        """See Measured."""
        if not Path(f"/proc/{self.pid}").exists():
            raise BenchError(f"{self.name} (process {self.pid}) has ended")
        return [self.pid]


@dataclass(frozen=True)
class Service(Running):
    """A service's main process, which something else has started, and its descendants."""

    def pids(self) -> list[int]:
        """See Measured."""
        return _family(*super().pids())


class Child:
    """One started command and its descendants.

    :param name: its name in errors
    :param log: file that holds its stdout and stderr
    """

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.process = process
        self.log = log

    def pids(self) -> list[int]:
        """Process ids of the command and of every living descendant.

        :raises BenchError: the command has ended
        """
        if self.process.poll() is not None:
            raise BenchError(f"{self.name} ended with {self.process.returncode}: {self.tail()}")
        return _family(self.process.pid)

    def tail(self) -> str:
        """Last lines of the log, for an error's text."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])

    def stop(self) -> None:
        """Ends the command: SIGTERM, then SIGKILL after STOP_SECONDS."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def child(
    name: str,
    command: Sequence[str],
    log: Path,
    port: int | None,
    env: Mapping[str, str] | None = None,
) -> Iterator[Child]:
    """Runs a command until the block ends; the block starts when the port accepts (None: at once).

    The kernel kills the command when this process dies, so that not even a
    killed benchmark leaves anything behind.

    :raises BenchError: it ended, or did not listen within START_SECONDS
    """
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own command lines
            ["/usr/bin/setpriv", "--pdeathsig", "KILL", "--", *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **(env or {})},
        )
    started = Child(name, process, log)
    try:
        if port is not None:
            _wait_for_port(started, port)
        yield started
    finally:
        started.stop()


def _family(pid: int) -> list[int]:
    """A process and its living descendants."""
    found = [pid]
    for each in found:  # grows while it is walked: children of children
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{each}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


def _wait_for_port(started: Child, port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        started.pids()  # raises when it has ended
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if time.monotonic() > deadline:
            raise BenchError(f"{started.name} does not listen on {port}: {started.tail()}")
        time.sleep(0.05)


def free_port() -> int:
    """A TCP port of the loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def cpu_seconds(children: Sequence[Measured]) -> dict[str, float]:
    """CPU time used so far, per child, by all its threads and descendants.

    This is utime + stime of /proc/PID/stat, read through the process's CPU
    clock (clock_getcpuclockid(3)) because stat counts in steps of 10 ms.
    """
    return {
        one.name: sum(time.clock_gettime((~pid << 3) | 2) for pid in one.pids()) for one in children
    }


def cpu_of_busiest(children: Sequence[Measured], before: Mapping[int, float]) -> float:
    """CPU seconds that the busiest process has used since ``before`` (of cpu_by_process)."""
    return max(seconds - before.get(pid, 0) for pid, seconds in cpu_by_process(children).items())


def cpu_by_process(children: Sequence[Measured]) -> dict[int, float]:
    """CPU time used so far, as cpu_seconds, by process id."""
    return {pid: time.clock_gettime((~pid << 3) | 2) for one in children for pid in one.pids()}


def private_bytes(children: Sequence[Measured]) -> int:
    """Memory that belongs to the children alone (Private_* of smaps_rollup), in bytes."""
    total = 0
    for one in children:
        for pid in one.pids():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Private_"):
                    total += int(line.split()[1]) * 1024
    return total
