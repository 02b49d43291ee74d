"""The deployment's bench: the demo, and runs of site.yml that have nothing to do."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

from benchmarks import BenchError
from benchmarks.playbook import Census, run_playbook, timed

_SITE = "playbooks/site.yml"
_MINUTES = 60.0
#: The fastest of this many no-op runs counts: its time has the least noise of the neighbours.
_NO_OP_RUNS = 2


@dataclass(frozen=True)
class Run:
    """One row of the table; a row without a census is not a playbook of its own."""

    key: str
    title: str
    seconds: float
    census: Census | None = None

    def as_json(self) -> dict[str, object]:
        """The row as it stands in a results file."""
        counts = asdict(self.census) if self.census else {}
        counts.pop("changed", None)
        return {"seconds": round(self.seconds, 1), **counts}


def run(done: Callable[[Run], None]) -> list[Run]:
    """Measures every row; ends a running demo.

    :param done: called with each row when it is complete
    :raises BenchError: something failed, or a no-op run changed something
    """
    rows: list[Run] = []

    def add(row: Run) -> None:
        rows.append(row)
        done(row)

    for row in _demo():
        add(row)
    for hosts in (2, 10):
        for row in _site(hosts):
            add(row)
    return rows


def _demo() -> Iterator[Run]:
    def down() -> None:
        timed(["make", "demo-down"], 5 * _MINUTES)

    with contextlib.ExitStack() as stack:
        down()
        stack.callback(down)
        yield Run(
            "demo_first", "make demo, caches as found", timed(["make", "demo"], 30 * _MINUTES)
        )
        down()
        yield Run("demo_second", "make demo, second run", timed(["make", "demo"], 10 * _MINUTES))


def _site(hosts: int) -> Iterator[Run]:
    lab = f"bench{hosts}"
    with contextlib.ExitStack() as stack:
        stack.callback(timed, ["python", "-m", "lab", "down", lab], 5 * _MINUTES)
        timed(["python", "-m", "lab", "up", lab, "--hosts", str(hosts)], 30 * _MINUTES)
        inventory = f".build/lab/{lab}/inventory.yml"
        title = f"site.yml, {hosts} hosts"
        seconds, census = run_playbook(_SITE, inventory, 30 * _MINUTES)
        yield Run(f"site_{hosts}_first", f"{title}, bare", seconds, census)
        no_ops = [run_playbook(_SITE, inventory, 10 * _MINUTES) for _ in range(_NO_OP_RUNS)]
        for _, census in no_ops:
            if census.changed:
                raise BenchError(f"{title}: a second run changed: {', '.join(census.changed)}")
        seconds, census = min(no_ops, key=lambda no_op: no_op[0])
        yield Run(f"site_{hosts}_no_op", f"{title}, nothing to do", seconds, census)
