"""The cost of the firewall: a deployed replica with and without the table ``inet mcp_tunnel``."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvloop

from benchmarks import BenchError
from benchmarks.figures import Comparison, Sample, compare
from benchmarks.load import workloads
from benchmarks.load.workloads import Measure, Target
from benchmarks.playbook import run_playbook, timed
from benchmarks.processes import Running, Service, child
from benchmarks.rivals.chains import Chain, client_context
from lab.core.paths import LabPaths
from lab.hosts import ssh
from lab.network import namespaces
from lab.network.addresses import UPSTREAM_V4
from lab.supervision import facts

_LAB = LabPaths("benchfw")
_HOST = "host1"
_ROUTE = "bench"
_UPSTREAM_PORT = 8100
_CLONE_NEWNET = 0x40000000  # setns(2)
_SECONDS = 30.0

_LOAD = ["sudo", "systemctl", "reload", "mcp-tunnel-firewall.service"]
_DELETE = ["sudo", "nft", "delete", "table", "inet", "mcp_tunnel"]


@dataclass(frozen=True)
class Work:
    """A workload with its amount per round; ``per_second`` is the unit's part of a second."""

    key: str
    title: str
    unit: str
    per_second: float
    measure: Measure
    amount: int


WORKS = (
    Work("small_request", "small request", "µs", 1e6, workloads.small_requests, 3200),
    Work("new_connection", "new connection", "µs", 1e6, workloads.new_connections, 200),
    Work("download", "MB down", "ms", 1e3, workloads.download, 128),
)
_PROXY = "proxy"

#: Suffix of a row's key -> its title, and the figure of a measurement that it shows.
_FIGURES: Mapping[str, tuple[str, Callable[[Work, Sample], Sample]]] = {
    "proxy_cpu": ("proxy's CPU", lambda _, one: Sample(one.parts[_PROXY])),
    "all_cpu": ("everybody's CPU", lambda _, one: Sample(one.value, one.parts)),
    "time": ("time", lambda work, one: Sample(work.per_second / one.rate, {}, one.rate)),
}

Done = Callable[[str, Comparison], None]


def run(rounds: int, scale: float, done: Done) -> dict[str, Comparison]:
    """Deploys a replica in a laboratory of its own and measures every row.

    :param rounds: pairs of measurements per workload
    :param scale: factor on the amount of work of each round
    :param done: called with title and figures of each row when it is complete
    :raises BenchError: something did not work; no figure is given then
    """
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mcp-bench-")))
        stack.callback(timed, ["python", "-m", "lab", "down", _LAB.name], 300)
        timed(["python", "-m", "lab", "up", _LAB.name, "--hosts", "1"], 1800)
        upstream = stack.enter_context(
            child(
                "upstream",
                [
                    *namespaces.inside(_LAB.network, [sys.executable]),
                    *("-m", "benchmarks.rivals.upstream", str(_UPSTREAM_PORT), UPSTREAM_V4),
                ],
                directory / "upstream.log",
                port=None,  # another network's; the deployment fails if it does not answer
            )
        )
        routes = {"mcp_tunnel_routes": {_ROUTE: f"http://{UPSTREAM_V4}:{_UPSTREAM_PORT}"}}
        run_playbook("playbooks/site.yml", str(_LAB.inventory()), 900, extra=routes)
        # It asks the kernel for counters now and then, and would fail without the table.
        _on_host(["sudo", "systemctl", "stop", "mcp-tunnel-firewall-counters.timer"])
        proxy = Service(_PROXY, _main_process_of("mcp-proxy@default.service"))
        chain = Chain("proxy", 8080, [proxy, Running("load generator", os.getpid()), upstream])
        ca = _on_host(["cat", "/etc/mcp-tunnel/default/ca.crt"])
        host = f"{_ROUTE}.{facts.read(_LAB)['domain']}"
        with _network_of(proxy.pid):
            target = Target(chain, client_context(ca), _UPSTREAM_PORT, host)
            return uvloop.run(_measure(target, rounds, scale, done))


async def _measure(target: Target, rounds: int, scale: float, done: Done) -> dict[str, Comparison]:
    results: dict[str, Comparison] = {}
    for work in WORKS:
        amount = max(1, round(work.amount * scale))
        await work.measure(target, max(1, amount // 10))  # warms up
        pairs: list[tuple[Sample, Sample]] = []
        for turn in range(rounds):
            taken: dict[bool, Sample] = {}
            for ruled in (True, False) if turn % 2 else (False, True):  # drift favours neither
                if not ruled:
                    _on_host(_DELETE)
                taken[ruled] = await _round(work, target, amount, ruled)
                if not ruled:
                    _on_host(_LOAD)
            pairs.append((taken[True], taken[False]))
        for suffix, (title, figure) in _FIGURES.items():
            try:
                row = compare(work.unit, [(figure(work, a), figure(work, b)) for a, b in pairs])
            except ValueError as error:
                raise BenchError(f"{title} per {work.title}: {error}") from error
            results[f"{work.key}_{suffix}"] = row
            done(f"{title} per {work.title}", row)
    return results


async def _round(work: Work, target: Target, amount: int, ruled: bool) -> Sample:
    before = _packets_to_upstreams()
    sample = await work.measure(target, amount)
    if (_packets_to_upstreams() > before) != ruled:
        raise BenchError(f"the rules should have been {'in' if ruled else 'out of'} force")
    return sample


def _packets_to_upstreams() -> int:
    """Packets that the rule for upstreams has counted in this process's network; 0 without it."""
    command = ["nft", "--json", "list", "counters"]
    done = subprocess.run(command, capture_output=True, check=True, timeout=_SECONDS)  # noqa: S603
    counters = [item.get("counter", {}) for item in json.loads(done.stdout)["nftables"]]
    return sum(
        int(counter["packets"])
        for counter in counters
        if counter.get("name", "").startswith("proxy/upstreams")
    )


def _on_host(command: Sequence[str]) -> str:
    output = ssh.output(_LAB, _HOST, command, _SECONDS)
    if output is None:
        raise BenchError(f"{_HOST}: {' '.join(command)} failed")
    return output


def _main_process_of(unit: str) -> int:
    """The id, in this process's own namespace, of the process of a unit that the host has started.

    The others are its descendants.
    """
    group = f"/{_LAB.label}/{_HOST}/"
    parents = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            lines = (path / "cgroup").read_text().splitlines()
            if any(group in line and line.endswith(f"/{unit}") for line in lines):
                stat = (path / "stat").read_text()
                parents[int(path.name)] = int(stat.rpartition(")")[2].split()[1])  # proc(5)
    found = [pid for pid, parent in parents.items() if parent not in parents]
    if len(found) != 1:
        raise BenchError(f"{unit} on {_HOST} has {len(found)} main processes, not one: {found}")
    return found[0]


@contextlib.contextmanager
def _network_of(pid: int) -> Iterator[None]:
    """Moves this thread, and what it starts, into a process's network until the block ends."""
    with open("/proc/thread-self/ns/net", "rb") as own, open(f"/proc/{pid}/ns/net", "rb") as its:
        _enter(its.fileno())
        try:
            yield
        finally:
            _enter(own.fileno())


def _enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)  # os.setns() needs Python 3.12
    if libc.setns(namespace, _CLONE_NEWNET):
        raise BenchError(f"setns: {os.strerror(ctypes.get_errno())}; run this as root")
