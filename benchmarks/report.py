"""The tables on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.figures import Comparison, round_significant
from benchmarks.fleet.runs import Run
from benchmarks.playbook import Census

_TITLE_WIDTH = 42


def comparison_head(ours: str, rival: str) -> str:
    """Head of a table that compares the two that are named."""
    head = ("work", "unit", ours, rival, "ratio", "range", "per second")
    return _line(head) + "\n" + _line(["-" * _TITLE_WIDTH] + ["-" * w for w in _WIDTHS])


def comparison_row(title: str, row: Comparison) -> str:
    """One row of such a table; the rival's figure is followed by its parts."""
    parts = " + ".join(f"{name} {number(value)}" for name, value in row.rival_parts.items())
    rates = f"{row.ours_rate:.0f} / {row.rival_rate:.0f}" if row.ours_rate else ""
    line = _line(
        (
            title,
            row.unit,
            number(row.ours),
            number(row.rival),
            f"{row.ratio:.2f}",
            f"{row.low:.2f}-{row.high:.2f}",
            rates,
        )
    )
    return f"{line}  ({parts})" if parts else line


_WIDTHS = (4, 8, 13, 6, 10, 13)


def _line(cells: Sequence[str]) -> str:
    title, *rest = cells
    columns = [cell.rjust(width) for cell, width in zip(rest, _WIDTHS)]
    return "  ".join([title.ljust(_TITLE_WIDTH), *columns])


def number(value: float) -> str:
    """A figure with three significant digits, never in exponent form."""
    rounded = round_significant(value, 3)
    return f"{rounded:.0f}" if abs(rounded) >= 100 else f"{rounded:g}"


_FLEET_HEAD = ("run", "s", "CPU ms/host", "of it system", "MB/fork", "MB/main")


def fleet_head() -> str:
    """Head of the simulated fleet's table."""
    rule = ["-" * _TITLE_WIDTH, *("-" * max(len(cell), 6) for cell in _FLEET_HEAD[1:])]
    return _fleet_line(_FLEET_HEAD) + "\n" + "  ".join(rule)


def fleet_row(run: Run) -> str:
    """One row of that table."""
    cpu = (run.cpu_per_host, run.system_per_host)
    figures = (run.seconds, *cpu, run.fork_memory, run.main_memory)
    return _fleet_line((run.title, *(number(figure) for figure in figures)))


def _fleet_line(cells: Sequence[str]) -> str:
    title, *rest = cells
    columns = [cell.rjust(max(len(head), 6)) for cell, head in zip(rest, _FLEET_HEAD[1:])]
    return "  ".join([title.ljust(_TITLE_WIDTH), *columns])


_DEPLOY_HEAD = (
    "run",
    "s",
    "tasks/host",
    "skipped/host",
    "modules/host",
    "on busiest",
    "on controller",
)


def deploy_head() -> str:
    """Head of the deployment's table."""
    widths = [len(cell) for cell in _DEPLOY_HEAD[2:]]
    rule = ["-" * _TITLE_WIDTH, "-" * 6, *("-" * width for width in widths)]
    return _deploy_line(_DEPLOY_HEAD) + "\n" + "  ".join(rule)


def deploy_row(title: str, seconds: float, census: Census | None) -> str:
    """One row of the deployment's table."""
    counts = (
        (
            census.tasks_per_host,
            census.skipped_per_host,
            census.modules_per_host,
            census.modules_on_busiest,
            census.modules_on_controller,
        )
        if census
        else ()
    )
    return _deploy_line((title, f"{seconds:.1f}", *map(str, counts)))


def _deploy_line(cells: Sequence[str]) -> str:
    title, seconds, *counts = cells
    columns = [cell.rjust(len(head)) for cell, head in zip(counts, _DEPLOY_HEAD[2:])]
    return "  ".join([title.ljust(_TITLE_WIDTH), seconds.rjust(6), *columns])


def verdict(recorded: bool, worse: Sequence[str]) -> str:
    """The result of the comparison with the recorded figures."""
    if not recorded:
        return "Nothing is recorded yet to compare with (--record does it)."
    if not worse:
        return "Nothing is slower than recorded."
    return "\n  ".join(["Slower than recorded:", *worse])
