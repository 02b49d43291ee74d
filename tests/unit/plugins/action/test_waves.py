"""A roll-out goes through all tunnels in waves; a failure stops the tunnel it is in."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import simulated_hosts
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.simulation import Simulation

#: A tunnel, which has the replicas 1, 2 and 3, to its line of the summary.
ENDS = {
    "quiet": "done (quiet1, quiet2, quiet3)",
    "failing": "stopped at failing2: No. Not touched: failing3.",
    "cut": "stopped at cut2: it could not be reached. Not touched: cut3.",
    "away": "done (away1, away3)",
    "keyless": (
        "stopped before anything was changed: keyless1: could not be reached, and keyless1 is "
        "the state host. Bring it back; if it is lost, run recover.yml."
    ),
    "small": (
        "stopped before anything was changed: small2: could not be reached, so 2 of 3 replicas are "
        "left, and mcp_tunnel_min_available is 80%. Bring it back, or set "
        "mcp_tunnel_min_available to less."
    ),
    "wrong": "stopped at wrong3: Port 8080 is taken. Not touched: wrong1, wrong2.",
    "broken": "stopped at broken3: No. Not touched: broken1, broken2.",
    "refused": "stopped at refused1: No lease. Not touched: refused2, refused3.",
}
#: The replicas whose services were run, or tried to be.
TURNS = {
    "quiet": ["quiet1", "quiet2", "quiet3"],
    "failing": ["failing1", "failing2"],
    "cut": ["cut1", "cut2"],
    "away": ["away1", "away3"],
}


def make_fleet(directory: Path, *tunnels: str) -> Simulation:
    """Tunnels of three replicas each: the first has the credentials."""
    simulation = Simulation(directory)
    files = {"ca.crt": simulated_hosts.CA.strip(), "tunnel-domain": simulated_hosts.DOMAIN}
    simulation.hosts = {
        f"{tunnel}{number}": {"mcp_tunnel_instance": tunnel}
        for tunnel in tunnels
        for number in (1, 2, 3)
    }
    simulation.world["contents"] = {
        f"{tunnel}{number}": {
            **({f"/var/lib/mcp-tunnel/{tunnel}": files} if number == 1 else {}),
            f"/etc/mcp-tunnel/{tunnel}": {"ca.crt": files["ca.crt"]},
        }
        for tunnel in tunnels
        for number in (1, 2, 3)
    }
    return simulation


def turns(simulation: Simulation) -> list[str]:
    """The hosts whose services were run, in that order."""
    return [
        str(call["host"])
        for call in simulation.calls()
        if call["module"] == "replica" and "state" not in call["arguments"]
    ]


def test_a_failure_stops_its_tunnel_only(tmp_path):
    """One run over tunnels of which most have a problem."""
    simulation = make_fleet(tmp_path, *ENDS)
    refusal = {"merge": {"failed": True, "msg": "No."}}
    simulation.attack("failing2", "replica", **refusal)
    kept = {"failed": True, "msg": "Not restored."}
    simulation.attack("failing2", "replica", arguments={"state": "restored"}, merge=kept)
    simulation.attack("cut2", "replica", unreachable=True)
    simulation.attack("away2", unreachable=True)
    simulation.attack("keyless1", unreachable=True)
    simulation.attack("small2", unreachable=True)
    simulation.hosts["small3"]["mcp_tunnel_min_available"] = "80%"
    taken = {"failed": True, "msg": "Port 8080 is taken."}
    simulation.attack("wrong3", "host_check", merge=taken)
    simulation.attack("broken3", "release_tree", **refusal)
    no_lease = {"failed": True, "msg": "No lease."}
    simulation.attack("refused1", "state_host", arguments={"state": None}, merge=no_lease)
    status, output = simulation.run()
    assert status != 0

    ran = turns(simulation)
    told = [line.strip() for line in output.partition("[Sum up]")[2].splitlines()]
    for tunnel, end in ENDS.items():
        assert [name for name in ran if name[:-1] == tunnel] == TURNS.get(tunnel, [])
        assert f'"  {tunnel}, {simulated_hosts.DOMAIN}: {end}",' in told, told[:40]
    assert (
        "It could not be put back, and stays as it is, for you to look at: Not restored." in output
    )
    assert '"2 of 9 tunnels are done.",' in told
    assert '"Left out, as they could not be reached: away2. Run again for them."' in told


def test_never_two_replicas_of_a_tunnel_at_a_time_unless_asked_for(tmp_path):
    simulation = make_fleet(tmp_path, "red", "blue")
    for number, batch in enumerate(("70%", 2, "100%"), start=1):
        simulation.hosts[f"red{number}"]["mcp_tunnel_batch"] = batch
    status, output = simulation.run()
    assert status == 0, output
    waves = [{"red1", "red2", "blue1"}, {"red3", "blue2"}, {"blue3"}]
    order = turns(simulation)
    assert [set(order[:3]), set(order[3:5]), set(order[5:])] == waves
    assert "2 of 2 tunnels are done." in output


def test_a_leader_that_is_left_out_is_replaced(tmp_path):
    simulation = make_fleet(tmp_path, "red")
    simulation.variables["mcp_tunnel_state_host"] = "red2"
    contents = simulation.world["contents"]
    contents["red1"], contents["red2"] = contents["red2"], contents["red1"]
    simulation.attack("red1", unreachable=True)
    status, output = simulation.run()
    assert status != 0
    assert turns(simulation) == ["red2", "red3"], output
    assert "The tunnel is done." in output


# A run that ends early gives the lease of its instance back.
BROKEN = {"healthy": False, "msg": "edge: 0 of 4 connections."}


@pytest.mark.parametrize(
    ("mode", "playbook", "module", "answer"),
    [
        pytest.param(
            "wif", "site", "tunnel_token", {"failed": True, "msg": "No."}, id="the API refuses"
        ),
        pytest.param(
            *("manual", "site", "state_host", {"misfit": "No."}),
            id="values do not fit",
            marks=pytest.mark.exhaustive,
        ),
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


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param({}, id="", marks=pytest.mark.exhaustive),
        pytest.param({"failed": True, "msg": "No."}, id="API refuses"),
    ],
)
def test_a_teardown_withdraws_the_ca(tmp_path, answer):
    """Its key goes, whether the API lets the registration go or not."""
    simulation = Simulation(tmp_path, "wif")
    simulation.attack("host1", "tunnel_ca", merge=answer)
    status, output = simulation.run("teardown", "-e", "mcp_tunnel_teardown_confirmed=true")
    assert status == 0, output
    calls = simulation.calls()
    phases = [call["arguments"]["phase"] for call in calls if call["module"] == "tunnel_ca"]
    assert phases == ["withdrawn"]
    assert ("stays registered on its tunnel: No." in output) == bool(answer)
    wiped = [entry["path"] for call in calls for entry in call["arguments"].get("entries", [])]
    assert "/var/lib/mcp-tunnel/default" in wiped


def test_a_teardown_keeps_the_key_if_nobody_knows_whether_the_ca_was_withdrawn(tmp_path):
    simulation = Simulation(tmp_path, "wif")
    simulation.attack("host1", "tunnel_ca", unreachable=True)
    status, output = simulation.run("teardown", "-e", "mcp_tunnel_teardown_confirmed=true")
    assert status != 0
    calls = simulation.calls()
    wiped = [entry["path"] for call in calls for entry in call["arguments"].get("entries", [])]
    assert "/var/lib/mcp-tunnel/default" not in wiped, output[-3000:]
