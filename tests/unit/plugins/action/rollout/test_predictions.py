"""What check mode says of the replicas, where the state host has not made yet what they get."""

from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.simulation import Simulation

TOKEN = "/etc/mcp-tunnel/default/tunnel-token"


@pytest.mark.parametrize(
    ("said", "read"), [({"changed": True, "rotated": True}, False), ({"changed": False}, True)]
)
def test_a_token_that_would_be_rotated_is_one_that_each_replica_gets(tmp_path, said, read):
    simulation = Simulation(tmp_path, "wif")
    simulation.attack("host1", "tunnel_token", merge=said)
    status, output = simulation.run("rotate_token", "--check")
    assert status == 0, output[-3000:]
    called = [call for call in simulation.calls() if call["module"] == "stored_token"]
    assert bool(called) == read
    given = {
        call["host"]: entry["secret_content"]
        for call in simulation.calls()
        if call["module"] == "file_set"
        for entry in call["arguments"]["entries"]
        if entry["path"] == TOKEN
    }
    assert given.keys() == {"host1", "host2"}
    assert all(content.startswith("eyJ") == read for content in given.values())
