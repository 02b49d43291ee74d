"""What leaves at the end of a read, what at the end of the turn, and what fails on the way."""

from __future__ import annotations

import asyncio

from mcp_proxy.system.turn import Turn


async def test_what_a_read_causes_waits_for_no_other_one() -> None:
    turn, done = Turn(), list[str]()
    for name in ("first", "second"):
        turn.read_begins()
        turn.add(lambda name=name: done.append(f"log of {name}"))  # type: ignore[misc]
        turn.soon(lambda name=name: done.append(name))  # type: ignore[misc]
        assert name not in done
        turn.read_ends()
    assert done == ["first", "second"]
    await asyncio.sleep(0)
    assert done == ["first", "second", "log of first", "log of second"]


async def test_without_a_read_it_waits_for_the_end_of_the_turn() -> None:
    turn, done = Turn(), list[int]()
    turn.read_begins()
    turn.read_ends()
    turn.soon(lambda: done.append(1))
    assert not done
    await asyncio.sleep(0)
    assert done == [1]


async def test_what_fails_at_the_end_of_a_read_is_told_and_keeps_nobody() -> None:
    turn, done = Turn(), list[int]()
    errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    turn.read_begins()
    turn.soon(lambda: done[0])  # type: ignore[arg-type, return-value]
    turn.soon(lambda: done.append(1))
    turn.read_ends()
    assert done == [1]
    assert len(errors) == 1
