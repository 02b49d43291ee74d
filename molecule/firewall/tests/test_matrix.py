"""The matrix: every user, every destination, both families, both directions, as real packets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from matrix import Cell, cells
from replicas import HOSTS
from runs import RELOAD, Runs, Verdict

POLICY = "none"


@pytest.fixture(scope="module")
def verdicts() -> Iterator[dict[str, Verdict]]:
    """The matrix, sent once; the rules are loaded anew before (logging is limited) and after."""
    with Runs(HOSTS) as runs:
        for host in HOSTS:
            runs.agents[host].run(*RELOAD)
        try:
            yield runs.run(POLICY)
        finally:
            for host in HOSTS:
                runs.agents[host].run(*RELOAD)


@pytest.mark.parametrize("cell", [c for host in HOSTS for c in cells(host, POLICY)], ids=str)
def test_cell(verdicts: dict[str, Verdict], cell: Cell) -> None:
    assert verdicts[cell.host].wrong[cell] == []


def test_counters_move_for_what_they_stand_for(verdicts: dict[str, Verdict], name: str) -> None:
    assert verdicts[name].missing() == []


def test_nothing_was_overlooked(verdicts: dict[str, Verdict], name: str) -> None:
    assert verdicts[name].seen


def test_every_counter_stands_for_something_here(verdicts: dict[str, Verdict], name: str) -> None:
    assert verdicts[name].unexplained() == set()
