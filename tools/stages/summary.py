"""The output of a run: a line for each stage while it runs, and a short summary at the end."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from .stage import Failure, Result, Stage

#: The end of the output, in lines, in which each failure has to be found.
LAST_LINES = 40
#: Lines from the end of a failing stage's output.
EXCERPT = 60
WIDTH = 150
_SKIPPED_LINES = 12
# Lines in which commands usually say that they failed; without any, the output's end is shown.
_BAD = re.compile(r"fatal: |FAILED|FAILURES|ERROR|Error:|Traceback|error:")


def told(event: Result | Stage) -> str:
    """The line that is printed when a stage begins or ends."""
    if isinstance(event, Stage):
        return f"---- {event.name}: begins"
    tests = event.tests
    said = f"==== {event.stage.name}: {event.seconds:.0f} s"
    if event.stage.reports:
        skipped = sum(tests.skipped.values())
        said += f"; {tests.passed} passed, {len(tests.failures)} failed, {skipped} skipped"
    if event.good:
        return said
    return "\n".join([f"{said}; FAILED {event.problem}".rstrip(), *_failure(event, EXCERPT)])


def closing(results: Sequence[Result], seconds: float, root: Path) -> str:
    """The end of the output: reasons for skipping, failures, and the table with its total."""
    table = [*_table(results), "", _pytest_line(results, seconds)]
    bad = [result for result in results if not result.good]
    lines = _skipped(results)
    if bad:
        # One line less for the heading of each.
        room = max(1, (LAST_LINES - len(table)) // len(bad) - 1)
        for result in bad:
            log = result.log.relative_to(root) if result.log.is_relative_to(root) else result.log
            lines.append(f"FAILED {result.stage.name}: {result.problem or 'tests failed'} ({log})")
            lines += _failure(result, room)
    return "\n".join([*lines, *table])


def _failure(result: Result, room: int) -> list[str]:
    """At most ``room`` lines that say how a stage failed."""
    failures = result.tests.failures
    lines = _tests(failures, room) if failures else _excerpt(result.log, room)
    return [_cut(f"    {line}") for line in lines]


def _tests(failures: Sequence[Failure], room: int) -> list[str]:
    """The first failure with its text, then names: the same error is not repeated."""
    first, *others = failures
    said = [line for line in first.text.splitlines() if line.strip()]
    names = min(len(others), max(1, room // 3))
    body = said[: max(1, room - 1 - names - (len(others) > names))]
    lines = [first.test, *(f"    {line}" for line in body)]
    lines += [each.test for each in others[:names]]
    if len(others) > names:
        lines.append(f"... and {len(others) - names} more")
    return lines[:room]


def _excerpt(log: Path, room: int) -> list[str]:
    """From the first line that looks like a failure, or else the end."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    begin = next((n for n, line in enumerate(lines) if _BAD.search(line)), len(lines))
    begin = max(0, min(begin, len(lines) - room))
    return lines[begin : begin + room]


def _cut(line: str) -> str:
    line = line.expandtabs().rstrip()
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 4]} ..."


def _skipped(results: Iterable[Result]) -> list[str]:
    lines = [
        _cut(f"skipped, {result.stage.name}: {number} x {reason}")
        for result in results
        for reason, number in result.tests.skipped.most_common()
    ]
    if len(lines) > _SKIPPED_LINES:
        more = len(lines) - _SKIPPED_LINES
        lines = [*lines[:_SKIPPED_LINES], f"... and {more} more reasons: see the logs"]
    return lines


def _table(results: Sequence[Result]) -> list[str]:
    head = f"{'stage':<26} {'passed':>7} {'failed':>7} {'skipped':>7} {'seconds':>8} {'cpu s':>7}"
    rows = [
        _row(
            result.stage.name,
            result.tests.passed,
            len(result.tests.failures),
            sum(result.tests.skipped.values()),
            result.seconds,
            result.processor,
        )
        + ("" if result.good else "  FAILED")
        for result in results
    ]
    return [head, *rows]


def _row(
    name: str, passed: int, failed: int, skipped: int, seconds: float, processor: float
) -> str:
    counts = f"{passed:>7} {failed:>7} {skipped:>7}"
    return f"{name:<26} {counts} {seconds:>8.0f} {processor:>7.0f}"


def _pytest_line(results: Sequence[Result], seconds: float) -> str:
    """The total, as pytest writes it: CI systems look for this line."""
    numbers = {
        "failed": sum(len(result.tests.failures) for result in results),
        "passed": sum(result.tests.passed for result in results),
        "skipped": sum(sum(result.tests.skipped.values()) for result in results),
        "errors": sum(1 for result in results if result.problem),
    }
    said = ", ".join(
        f"{number} {name}" for name, number in numbers.items() if number or name == "passed"
    )
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"=== {said} in {seconds:.2f}s ({hours}:{minutes:02}:{rest:02}) ==="
