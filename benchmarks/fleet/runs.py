"""Runs of site.yml over fleets of several sizes, with nothing to do on any host."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import BenchError
from benchmarks.fleet import answers
from benchmarks.playbook import timed

#: Hosts, and the tunnels that they are divided into.
SIZES = ((10, 1), (100, 4), (1000, 40))
_PLUGINS = Path(__file__).resolve().parent / "connection_plugins"
_FORKS = 10
_LIMIT = 4 * 3600.0
"""Seconds. The largest fleet takes half an hour of two cores, and more where others use them."""
_LOOK = 0.2
"""Seconds between two looks at the forks' memory."""


@dataclass(frozen=True)
class Run:
    """One run.

    :param seconds: wall time
    :param cpu_per_host: the controller's CPU time for each host, in ms
    :param system_per_host: the part of it that the kernel took: forks, and their copies of pages
    :param fork_memory: the most private memory that a fork had, in MB
    :param main_memory: the most resident memory that their parent had, in MB
    :param away: hosts that could not be reached
    """

    hosts: int
    tunnels: int
    away: int
    seconds: float
    cpu_per_host: float
    system_per_host: float
    fork_memory: float
    main_memory: float

    @property
    def title(self) -> str:
        """The row's title."""
        away = f", {self.away} away" if self.away else ""
        return f"{self.hosts} hosts in {self.tunnels} tunnels{away}"

    @property
    def key(self) -> str:
        """The row's key in the record."""
        return f"hosts_{self.hosts}{'_away' if self.away else ''}"

    def as_json(self, smallest: Run) -> dict[str, Any]:
        """The row, with the ratio of its CPU time per host to that of the smallest fleet."""
        return {**asdict(self), "ratio": self.cpu_per_host / smallest.cpu_per_host}


def run(scale: float, done: Callable[[Run], None]) -> list[Run]:
    """Runs the playbook over each fleet, and over the second largest with one host in 100 away.

    :param scale: factor on the number of hosts and tunnels of the largest fleet
    :param done: called with each run
    :raises BenchError: a run failed
    """
    found = []
    *smaller, (hosts, tunnels) = SIZES
    largest = (max(round(hosts * scale), 100), max(round(tunnels * scale), 4))
    second = smaller[-1]
    fleets = [*((*size, 0) for size in (*smaller, largest)), (*second, second[0] // 100)]
    for hosts, tunnels, away in fleets:
        found.append(run_site(hosts, tunnels, away))
        done(found[-1])
    return found


def run_site(hosts: int, tunnels: int, away: int) -> Run:
    """One run over a fleet.

    :param away: hosts that cannot be reached; none is the state host of its tunnel
    :raises BenchError: the run failed
    """
    with tempfile.TemporaryDirectory(prefix="mcp-bench-") as name:
        directory = Path(name)
        inventory = directory / "inventory.json"
        inventory.write_text(json.dumps(make_inventory(hosts, tunnels, away)))
        recorded = directory / "answers.json"
        recorded.write_text(json.dumps(answers.answers()))
        settings = directory / "ansible.cfg"
        settings.write_text("[defaults]\ninternal_poll_interval = 0.01\n")
        environment = {
            "ANSIBLE_COLLECTIONS_PATH": str(answers.COLLECTIONS),
            "ANSIBLE_CONFIG": str(settings),
            "ANSIBLE_CONNECTION_PLUGINS": str(_PLUGINS),
            "ANSIBLE_FORKS": str(_FORKS),
            "ANSIBLE_PIPELINING": "1",
            "RECORDED_ANSWERS": str(recorded),
        }
        command = ["ansible-playbook", "-i", str(inventory), "playbooks/site.yml"]
        before = _used()
        with _watched() as memory:
            seconds = _timed(command, environment, away)
        user, system = (1000 * (now - then) / hosts for now, then in zip(_used(), before))
    fork, main = (most / 1e6 for most in (memory.fork, memory.main))
    return Run(hosts, tunnels, away, seconds, user + system, system, fork, main)


def _timed(command: list[str], environment: dict[str, str], away: int) -> float:
    """Seconds of the run. Hosts that are away make it red, and nothing else may."""
    begin = time.monotonic()
    try:
        return timed(command, _LIMIT, environment)
    except BenchError as error:
        # 4: some hosts could not be reached, and none failed (ansible-playbook(1)).
        if not away or "ended with 4:" not in str(error):
            raise
        return time.monotonic() - begin


def make_inventory(hosts: int, tunnels: int, away: int) -> dict[str, Any]:
    """An inventory: the first hosts after the state hosts are away, each in another tunnel."""
    names: dict[str, dict[str, str]] = {}
    for number in range(hosts):
        gone = tunnels <= number < tunnels + away
        names[f"host{number:04d}{'-away' if gone else ''}"] = {
            "mcp_tunnel_instance": f"tunnel{number % tunnels}"
        }
    variables = {
        "ansible_connection": "recorded",
        "ansible_python_interpreter": "/usr/bin/python3",
        "cloudflared_known_bad": "accept",
        "mcp_tunnel_domain": answers.DOMAIN,
        "mcp_tunnel_routes": answers.ROUTES,
    }
    return {"mcp_tunnel": {"hosts": names, "vars": variables}}


def _used() -> tuple[float, float]:
    """CPU time of the runs so far, in seconds: the user's, and the kernel's for them."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime, used.ru_stime


@dataclass
class _Memory:
    """The most that was seen, in bytes: private memory of one fork, resident memory of a parent."""

    fork: int = 0
    main: int = 0


@contextlib.contextmanager
def _watched() -> Iterator[_Memory]:
    """The memory of ansible-playbook and of its forks, at the end."""
    most = _Memory()
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(_LOOK):
            for main in _children(os.getpid()):
                most.main = max(most.main, _memory(main, "status", "VmHWM"))
                for fork in _children(main):
                    most.fork = max(most.fork, _memory(fork, "smaps_rollup", "Private_"))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield most
    finally:
        ended.set()
        thread.join()


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        found = []
        for path in Path(f"/proc/{pid}/task").glob("*/children"):
            found += [int(child) for child in path.read_text().split()]
        return found
    return []


def _memory(pid: int, file: str, kind: str) -> int:
    """The bytes of a kind of memory, by a file of proc(5); 0 if the process is gone."""
    with contextlib.suppress(OSError, ValueError):
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
        return sum(1024 * int(line.split()[1]) for line in lines if line.startswith(kind))
    return 0
