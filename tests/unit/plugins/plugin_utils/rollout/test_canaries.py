"""Who goes first, and for how long it is watched."""

from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import (
    plan,
    role_options,
    waves,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.rollout import canaries
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.variables import good


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("", 0), (600, 600), ("600", 600), ("10m", 600), ("1h30m", 5400), ("1d", 86400), ("500ms", 1)],
)
def test_a_time(value, seconds):
    values = role_options.as_meant(good(mcp_tunnel_soak=value))
    assert plan.check_values(values) == []
    assert plan.make_plan(values, ["a"], "a")["soak_seconds"] == seconds


@pytest.mark.parametrize("value", [0, "0", -1, "2d", 86401, "soon", True, [600], {}, 1.5, " 600"])
def test_a_time_that_is_none(value):
    (problem,) = plan.check_values(good(mcp_tunnel_soak=value))
    assert str(problem).startswith("mcp_tunnel_soak: must be a time from a second to a day, is ")


@pytest.mark.parametrize(
    ("named", "soak", "found"),
    [
        ([], "", []),
        ([], "10m", ["a"]),
        (["b"], "", ["b"]),
        (["c", "b"], "10m", ["b", "c"]),
        # It takes no part in this run; none goes unwatched.
        (["z"], "10m", ["a"]),
        (["z"], "", []),
    ],
)
def test_canaries(named, soak, found):
    assert canaries.canaries_of(named, soak, ["a", "b", "c"]) == found


def test_canaries_go_first_and_without_others():
    tunnels = [(["a1", "a2", "a3", "a4"], 2, ["a3"]), (["b1", "b2"], 1, ["b1", "b2"])]
    order, sizes = waves.make_waves([*tunnels, (["c1", "c2"], 1, [])])
    assert order == ["a3", "b1", "c1", "a1", "a2", "b2", "c2", "a4"]
    assert sizes == [3, 4, 1]


def test_the_lease_outlasts_the_wait_between_two_requests_for_it():
    usual, short, long = (
        plan.make_plan(good(mcp_tunnel_soak=soak), ["a"], "a")["lease_seconds"]
        for soak in ("", 20, "6h")
    )
    # With a minute for the answer of the canary, and of ten others.
    assert (short - usual, long - usual) == (20 + 660, 300 + 660)
