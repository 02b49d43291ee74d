"""A replica that never worked joins the edge once it has proven all else."""

from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.simulation import Simulation


@pytest.fixture
def simulation(tmp_path):
    """host1 works; host2 never did, and its cloudflared does not run."""
    simulation = Simulation(tmp_path)
    simulation.world["newcomers"] = ["host2"]
    return simulation


def steps(simulation, host):
    """The calls that run, look at, prove and put back the services of a host, in order."""
    found = []
    for call in simulation.calls():
        arguments = call.get("arguments", {})
        if call["host"] == host and call["module"] == "replica":
            name = arguments.get("state", "applied")
            found.append("held" if arguments.get("joins_last") else name)
        elif call["host"] == host and call["module"] == "replica_health":
            found.append("edge" if arguments.get("edge", True) else "all but the edge")
    return found


def test_it_joins_after_the_look_at_all_else(simulation):
    status, output = simulation.run()
    assert status == 0, output
    assert steps(simulation, "host1") == ["held", "edge", "good", "edge"]
    expected = ["held", "all but the edge", "applied", "edge", "good", "edge"]
    assert steps(simulation, "host2") == expected


def test_one_that_does_not_work_never_joins(simulation):
    lie = {"healthy": False, "msg": "route: echo: Upstream refused the connection. Start it."}
    simulation.attack("host2", "replica_health", merge=lie)
    status, output = simulation.run()
    assert status != 0
    assert steps(simulation, "host2") == ["held", "all but the edge", "restored"]
    assert "Upstream refused the connection" in output
    [given] = [
        call["arguments"]
        for call in simulation.calls()
        if call["host"] == "host2"
        and call["module"] == "replica"
        and call["arguments"].get("state") == "restored"
    ]
    assert given["leaves_edge"] is True, "host1 answers its requests"


def test_check_mode_looks_at_nothing_that_does_not_run(simulation):
    status, output = simulation.run("site", "--check")
    assert status == 0, output
    assert "all but the edge" not in steps(simulation, "host2")
