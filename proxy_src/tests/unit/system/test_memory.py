"""When the system gets memory back."""

from __future__ import annotations

import ctypes

import pytest
from mcp_proxy.system import memory


@pytest.mark.parametrize(
    ("loads", "trims"),
    [
        ([5000, 5000, 0, 0, 0], 1),
        ([5000, 4000, 1000, 500, 10, 10, 10], 1),  # once, when it no longer falls
        ([100, 90, 80, 90, 100], 0),
        ([100, 40, 45, 100, 40, 40], 2),
        ([63, 0, 0, 0], 0),
    ],
)
def test_once_after_each_load(loads: list[int], trims: int) -> None:
    asked: list[int] = []
    surplus = memory.Surplus(lambda pad: asked.append(pad) or 1)
    for load in loads:
        surplus.watch(load)
    assert asked == [0] * trims


def test_a_c_library_that_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    surplus = memory.Surplus()
    for load in (1000, 0, 0):
        surplus.watch(load)
