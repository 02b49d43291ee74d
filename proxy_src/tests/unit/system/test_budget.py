"""Who is held back, and who is cut, when much waits for slow peers."""

from __future__ import annotations

import asyncio

import pytest
from mcp_proxy.system import budget
from mcp_proxy.system.budget import Budget


class Peer:
    """A connection with so many bytes; some may have left without a word."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.noted = 0
        self.held = 0
        self.was_cut: int | None = None
        self.ends_with_it: Peer | None = None

    def gets(self, size: int) -> Peer:
        self.held += size
        self.budget.note(self, self.held)
        return self

    def give_way(self, held: int) -> None:
        assert self.was_cut is None
        self.was_cut = held
        self.held = 0
        if self.ends_with_it is not None:
            self.ends_with_it.gets(-self.ends_with_it.held)


async def turns() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_what_waits_is_added_up() -> None:
    here = Budget(plenty=100, most=1000)
    one, other = Peer(here).gets(60), Peer(here).gets(40)
    assert (here.held, here.scarce) == (100, False)
    one.gets(1)
    assert (here.held, here.scarce) == (101, True)
    other.gets(-40)
    assert (here.held, here.scarce) == (61, False)
    one.gets(-61)
    assert here.held == 0
    await turns()
    assert here.cuts == 0


async def test_those_that_hold_most_are_cut_and_no_more_than_needed() -> None:
    here = Budget(plenty=100, most=1600)
    peers = [Peer(here).gets(size) for size in (300, 100, 500, 200, 400)]
    await turns()
    assert here.cuts == 0
    peers[1].gets(150)
    assert here.held == 1650
    await turns()
    assert [peer.was_cut for peer in peers] == [None, None, 500, None, None]
    assert (here.held, here.cuts) == (1150, 1)
    # A sixteenth is free after a cut: 1500.
    peers[3].gets(500)
    await turns()
    assert peers[3].was_cut == 700
    assert (here.held, here.cuts) == (950, 2)


async def test_bytes_that_have_left_cut_nobody() -> None:
    here = Budget(plenty=100, most=1600)
    peers = [Peer(here).gets(800), Peer(here).gets(700)]
    peers[0].held = 0
    peers[1].gets(150)
    await turns()
    assert (here.held, here.cuts) == (850, 0)


async def test_the_part_of_one_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "MOST_EACH", 100)
    here = Budget(plenty=1000, most=10_000)
    peers = [Peer(here).gets(100), Peer(here).gets(101), Peer(here).gets(90)]
    await turns()
    assert [peer.was_cut for peer in peers] == [None, 101, None]
    assert (here.held, here.cuts) == (190, 1)


async def test_many_small_ones_are_cut_one_after_the_other() -> None:
    here = Budget(plenty=100, most=1600)
    peers = [Peer(here).gets(10) for _ in range(161)]
    await turns()
    assert here.held <= 1500
    assert sum(peer.was_cut == 10 for peer in peers) == here.cuts == 11


async def test_those_that_end_with_another_are_not_cut_as_well() -> None:
    """As a client's requests do when it is cut."""
    here = Budget(plenty=100, most=1000)
    peers = [Peer(here).gets(size) for size in (500, 400, 370, 350, 340)]
    peers[0].ends_with_it = peers[1]
    await turns()
    assert [peer.was_cut for peer in peers] == [500, None, 370, None, None]
    assert (here.held, here.cuts) == (690, 2)


def test_the_figures_leave_room() -> None:
    """A unit gives 512 MiB to a worker, which takes 30 MB itself."""
    assert 2 * budget.PLENTY <= budget.MOST <= 1 << 28
    assert 2 * budget.MOST_EACH <= budget.PLENTY
