"""More replicas or tunnels than the service allows: a remark, and no refusal."""

from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.fleet import limits


def group(tunnels, replicas):
    """So many tunnels, each with so many replicas."""
    return {
        f"host{tunnel}-{number}": {"mcp_tunnel_instance": f"tunnel{tunnel}"}
        for tunnel in range(tunnels)
        for number in range(replicas)
    }


@pytest.mark.parametrize(("tunnels", "replicas"), [(1, 25), (10, 2), (0, 0)])
def test_as_many_as_the_service_allows(tunnels, replicas):
    assert limits.warnings(group(tunnels, replicas)) == []


def test_one_replica_too_many():
    """Of one tunnel; the others are not named."""
    (told,) = limits.warnings({**group(1, 26), "other": {"mcp_tunnel_instance": "other"}})
    assert told.startswith("mcp_tunnel_instance: host0-0 and 25 more hosts are replicas of")
    assert "'tunnel0'. The edge takes the connections of 25." in told


def test_one_tunnel_too_many():
    (told,) = limits.warnings(group(11, 1))
    assert told.startswith("mcp_tunnel_instance: the group has 11 instances.")
    assert "10 active tunnels at most" in told
