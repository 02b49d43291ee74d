"""The right to work: light users have it at once, heavy users in short turns."""

from __future__ import annotations

import asyncio

import pytest
from mcp_proxy.system.rota import PER_TURN, SLICE, Account, Portion, Rota


class Bench:
    """A rota with a clock that only work moves, and an event loop whose turns are counted."""

    def __init__(self) -> None:
        self.now = 100.0
        self.rota = Rota(lambda: self.now)
        self.done: list[str] = []

    def work(self, account: Account, seconds: float, name: str = "") -> None:
        began = self.now
        self.now += seconds
        self.done.append(name)
        self.rota.charge(account, began, self.now)

    def burden(self, account: Account) -> None:
        """Make *account* a heavy user, and let that turn end."""
        self.work(account, 0.05)
        self.done.clear()


async def turn() -> None:
    await asyncio.sleep(0)


async def test_little_is_done_at_once_whoever_waits() -> None:
    bench = Bench()
    hog, honest = Account(), Account()
    bench.burden(hog)
    bench.rota.put_off(hog, lambda: None)
    assert not bench.rota.serves(hog, bench.now)
    for _ in range(5):
        assert bench.rota.serves(honest, bench.now)
        bench.work(honest, 0.0005)
    await turn()


async def test_much_is_done_as_long_as_there_is_time_in_the_turn() -> None:
    bench = Bench()
    hog = Account()
    bench.burden(hog)
    await turn()
    served = 0
    while bench.rota.serves(hog, bench.now):
        bench.work(hog, SLICE / 2)
        served += 1
    assert served == round(PER_TURN / (SLICE / 2))
    await turn()
    assert bench.rota.serves(hog, bench.now)


async def test_turns_that_are_short_make_nobody_wait() -> None:
    bench = Bench()
    hog = Account()
    bench.burden(hog)
    await turn()
    for _ in range(10):
        assert bench.rota.serves(hog, bench.now)
        bench.work(hog, SLICE)
        bench.rota.turn_ends()
    assert not bench.rota.busy


async def test_the_end_of_a_turn_does_not_let_those_wait_who_came_first() -> None:
    bench = Bench()
    hog, other = Account(), Account()
    bench.burden(hog)
    bench.burden(other)
    bench.rota.put_off(other, lambda: None)
    bench.rota.turn_ends()
    assert not bench.rota.serves(hog, bench.now)
    await turn()


@pytest.mark.parametrize("peers", [2, 64])
async def test_a_turn_is_short_however_many_wait(peers: int) -> None:
    bench = Bench()
    accounts = [Account() for _ in range(peers)]
    left = dict.fromkeys(range(peers), 4)

    def go_on(index: int) -> None:
        bench.work(accounts[index], SLICE, str(index))
        left[index] -= 1
        if left[index]:
            bench.rota.put_off(accounts[index], lambda: go_on(index))

    for index, account in enumerate(accounts):
        bench.burden(account)
        bench.rota.put_off(account, lambda index=index: go_on(index))  # type: ignore[misc]
    while any(left.values()):
        began, done = bench.now, len(bench.done)
        await turn()
        assert bench.now - began <= PER_TURN + SLICE
        assert len(bench.done) > done, "stuck"
    # In turns: no account comes a second time before every one has come once.
    assert len(set(bench.done[:peers])) == peers


async def test_many_connections_of_one_peer_get_no_more_than_one_of_another() -> None:
    bench = Bench()
    many, one = Account(), Account()
    bench.burden(many)
    bench.burden(one)
    for _ in range(100):
        bench.rota.put_off(many, lambda: bench.work(many, SLICE, "many"))
    for _ in range(10):
        bench.rota.put_off(one, lambda: bench.work(one, SLICE, "one"))
    while bench.done.count("one") < 10:
        await turn()
    assert bench.done.count("many") <= 11


async def test_what_was_used_is_forgiven() -> None:
    bench = Bench()
    hog, other = Account(), Account()
    bench.burden(hog)
    bench.burden(other)
    bench.rota.put_off(other, lambda: None)
    assert not bench.rota.serves(hog, bench.now)
    assert bench.rota.serves(hog, bench.now + 5)
    await turn()


async def test_work_that_fails_does_not_keep_the_others_from_theirs() -> None:
    bench = Bench()
    errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    first, second = Account(), Account()

    def fail() -> None:
        raise ValueError

    bench.rota.put_off(first, fail)
    bench.rota.put_off(second, lambda: bench.done.append("second"))
    await turn()
    assert bench.done == ["second"]
    assert len(errors) == 1


def test_a_portion_is_what_takes_a_slice() -> None:
    portion = Portion()
    for _ in range(20):
        portion.took(portion.size, 0.00001)
    largest = portion.size
    assert largest == 1 << 16
    portion.took(largest, 16 * SLICE)
    assert portion.size == largest // 16
    portion.took(100, 0.00001)  # a portion that was not full says nothing
    assert portion.size == largest // 16
    portion.took(portion.size, 1.0)
    assert portion.size == 1 << 10
