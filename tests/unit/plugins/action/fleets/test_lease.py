"""One run at a time: the second one is refused, and an operator may break the lease."""

from __future__ import annotations

import json

from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.simulation import Simulation

HOLDER = {
    "id": "5d1e9a7b24680f3c",
    "owner": "root on another, process 7, job 41",
    "controller": "a" * 16,
    "process": "7:7",
    "since": "2026-11-28T12:00:00Z",
    "seconds": 700,
}
CHANGING = {"release_tree", "file_set", "server_cert", "firewall", "replica", "tunnel_token"}


def held_by_another(directory) -> Simulation:
    """The lease is that of a run of another controller, and gives way to the one that breaks it."""
    simulation = Simulation(directory)
    refusal = json.dumps({"changed": False, "holder": HOLDER})
    simulation.attack("host1", "state_host", arguments={"break_lease": ""}, raw=refusal)
    return simulation


def test_the_second_run_says_who_holds_it_and_how_to_break_it(tmp_path):
    simulation = held_by_another(tmp_path)
    status, output = simulation.run("site")
    told = " ".join(output.split())
    assert status != 0
    assert (
        "Instance default: another run is changing it, since 2026-11-28T12:00:00Z: "
        "root on another, process 7, job 41." in told
    )
    assert "its lease ends in 12 minutes; or set mcp_tunnel_break_lease: 5d1e9a7b24680f3c" in told
    calls = simulation.calls()
    assert not CHANGING & {call["module"] for call in calls}
    asked = [call["arguments"] for call in calls if call["module"] == "state_host"]
    assert [each["state"] for each in asked if "state" in each] == [], "it is not given back"


def test_an_operator_breaks_it(tmp_path):
    simulation = held_by_another(tmp_path)
    status, output = simulation.run("site", "-e", f"mcp_tunnel_break_lease={HOLDER['id']}")
    assert status == 0, output[-3000:]
    first, *_others = [call for call in simulation.calls() if call["module"] == "state_host"]
    assert first["arguments"]["break_lease"] == HOLDER["id"]
