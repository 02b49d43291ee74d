"""A run that ends early gives the lease of its instance back: no other run has to wait for it."""

from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.simulation import Simulation

BROKEN = {"healthy": False, "msg": "edge: 0 of 4 connections."}


@pytest.mark.parametrize(
    ("mode", "playbook", "module", "answer"),
    [
        pytest.param("manual", "site", "replica_health", BROKEN, id="the only replica fails"),
        pytest.param(
            "wif", "site", "tunnel_token", {"failed": True, "msg": "No."}, id="the API refuses"
        ),
        pytest.param("manual", "site", "state_host", {"misfit": "No."}, id="values do not fit"),
        pytest.param("manual", "teardown", "none", {}, id="nobody says yes"),
    ],
)
def test_of_one_replica(tmp_path, mode, playbook, module, answer):
    simulation = Simulation(tmp_path, mode)
    simulation.hosts = {"host1": {}}
    simulation.attack("host1", module, merge=answer)
    status, output = simulation.run(playbook)
    assert status != 0, output
    asked = [
        call["arguments"].get("state", "held")
        for call in simulation.calls()
        if call["module"] == "state_host"
    ]
    assert asked[0] == "held"
    assert asked[-1] == "released", output


def test_a_rotation_that_stops(tmp_path):
    """Nothing of the rotation follows: the wave was the only replica that failed."""
    simulation = Simulation(tmp_path, "wif")
    simulation.attack("host1", "replica_health", merge=BROKEN)
    status, output = simulation.run("rotate_ca")
    assert status != 0, output
    asked = [call for call in simulation.calls() if call["module"] == "state_host"]
    assert asked[-1]["arguments"]["state"] == "released", output
