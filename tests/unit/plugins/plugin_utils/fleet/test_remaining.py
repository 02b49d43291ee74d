"""Which hosts go on after failures, and which of them speaks for its tunnel."""

from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.fleet import remaining

TUNNELS = (["a1", "a2", "a3"], ["b1", "b2"], ["c1"])
REPLICAS = {name: names for names in TUNNELS for name in names}


@pytest.mark.parametrize(
    ("lost", "stopped"),
    [
        ([], []),
        (["a2"], ["a1", "a3"]),
        (["c1"], []),
        (["b1", "a1"], ["a2", "a3", "b2"]),
        (["b1", "b2"], []),
    ],
)
def test_a_tunnel_stops_with_one_lost_replica(lost, stopped):
    here = [name for name in REPLICAS if name not in lost]
    assert remaining.stopped(REPLICAS, lost, here) == stopped


@pytest.mark.parametrize(
    ("here", "firsts"),
    [
        (list(REPLICAS), ["a1", "b1", "c1"]),
        # In the order of the replicas, not of the play.
        (["a3", "b2", "a2"], ["a2", "b2"]),
        ([], []),
    ],
)
def test_the_first_replica_that_is_here_speaks_for_its_tunnel(here, firsts):
    assert remaining.firsts(REPLICAS, here) == firsts
