from __future__ import annotations

import asyncio
import functools
import inspect
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import hypothesis
import pytest

# Every change is judged by the same examples; a slow example says nothing about the code, as
# booting hosts share the machine. pytest --hypothesis-profile=explore looks for new ones.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.register_profile("explore", max_examples=5000, deadline=None)
hypothesis.settings.load_profile("repeatable")

LIMIT = int(os.environ.get("TEST_LIMIT", "300"))
"""Seconds after which a test counts as hanging; the slowest takes 15 on an idle machine."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            item.obj = _bounded(item.obj)


def _bounded(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Cancel a test that waits for ever, so that it ends what it has started."""

    @functools.wraps(test)
    async def run(*args: Any, **kwargs: Any) -> None:
        async with asyncio.timeout(LIMIT):
            await test(*args, **kwargs)

    return run


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Interrupt a test that keeps the interpreter busy, where no event loop could cancel it.

    Pytest's ``faulthandler_timeout`` ends a test that is stuck outside Python's reach.
    """

    def overdue(*_: object) -> None:
        pytest.fail(f"{item.nodeid} hangs")

    before = signal.signal(signal.SIGALRM, overdue)
    # Repeatedly: the loop logs an exception of one of its callbacks, and goes on.
    signal.setitimer(signal.ITIMER_REAL, LIMIT + 5, 5)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
