"""A breach over simulated hosts: who is asked for what, in which order, and who gets nothing."""

from __future__ import annotations

import json

import pytest
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import simulated_hosts
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.simulation import Simulation

ONE = ["-e", '{"mcp_tunnel_breached": ["host2"]}']
FOUND = {"host2": {"machine": "", "evidence": False}}
STATE_HOST = ["-e", '{"mcp_tunnel_breached": ["host1"]}']


@pytest.fixture
def simulation(tmp_path):
    """Three replicas of one tunnel in mode wif; host1 has its credentials."""
    found = Simulation(tmp_path, "wif")
    found.hosts["host3"] = {}
    trusted = {simulated_hosts.CONFIG: {"ca.crt": simulated_hosts.CA.strip()}}
    found.world["contents"] = {"host3": trusted}
    return found


def calls(simulation, module, **arguments):
    """Return the calls of a module with these arguments."""
    return [
        call
        for call in simulation.calls()
        if call["module"] == module
        and all(call["arguments"].get(key) == value for key, value in arguments.items())
    ]


def position(simulation, module, host, **arguments):
    """Return the place of the first such call among all calls."""
    wanted = [call for call in calls(simulation, module, **arguments) if call["host"] == host]
    return simulation.calls().index(wanted[0])


def paths(simulation, host, state):
    """Return the paths that a host was asked to bring into this state."""
    return {
        entry["path"]
        for call in calls(simulation, "file_set")
        if call["host"] == host
        for entry in call["arguments"]["entries"]
        if entry.get("state") == state
    }


def test_what_each_host_is_asked_and_when(simulation):
    """Another tunnel of the inventory is not touched."""
    simulation.hosts["other"] = {
        "mcp_tunnel_instance": "other",
        "mcp_tunnel_id": "tnl_01OTHER",
        "proxy_listen_port": 9080,
        "proxy_admin_port": 9081,
        "cloudflared_metrics_port": 9082,
    }
    status, output = simulation.run("breach", *ONE)
    assert status == 0, output[-3000:]
    assert_order(simulation)
    assert_contained(simulation)
    assert_it_gets_nothing(simulation)
    assert "other" not in {call["host"] for call in simulation.calls()}


def assert_order(simulation):
    """Assert the order: mark, evidence, containment, new credentials, archive of the old CA."""
    order = [
        position(simulation, "state_host", "host1", breached=FOUND),
        position(simulation, "support", "host2", state="made"),
        position(simulation, "replica", "host2", state="absent"),
        position(simulation, "tunnel_ca", "host1", phase="added"),
        position(simulation, "tunnel_ca", "host1", phase="retired"),
    ]
    assert order == sorted(order)
    marked = calls(simulation, "state_host", breached=FOUND)[0]["arguments"]
    assert marked["note"] is True
    assert marked["inventory"] == ["host1", "host3"]


def assert_contained(simulation):
    """Assert that the services cannot start again, and that nothing secret stays."""
    assert paths(simulation, "host2", "link") == {
        "/etc/systemd/system/mcp-cloudflared@default.service",
        "/etc/systemd/system/mcp-proxy@default.service",
        "/etc/systemd/system/mcp-proxy@default.socket",
    }
    gone = paths(simulation, "host2", "absent")
    assert {simulated_hosts.CONFIG, simulated_hosts.STATE} <= gone
    assert "/etc/systemd/system/mcp-tunnel-renew-cert@default.timer" in gone
    units = [call["arguments"] for call in calls(simulation, "systemd_service")]
    shut = [unit["name"] for unit in units if unit.get("enabled") and unit.get("state")]
    assert shut == ["mcp-tunnel-containment.service"]
    (archive,) = (simulation.directory / "archives").iterdir()
    assert archive.name.startswith("host2-")


def assert_it_gets_nothing(simulation):
    """Assert that the others alone get what is new, and that the token is rotated once."""
    modules = {call["module"] for call in simulation.calls() if call["host"] == "host2"}
    assert modules == {"public_files", "support", "replica", "file_set", "systemd_service"}
    signed = calls(simulation, "server_cert", state="requested")
    assert {call["host"] for call in signed} == {"host1", "host3"}
    versions = [c["arguments"].get("token_version") for c in calls(simulation, "tunnel_token")]
    assert versions == [None, "breach-2026-11-29T20:00:00Z"]


def test_a_second_run_replaces_nothing(simulation):
    simulation.world["replaced"] = True
    simulation.world["contents"]["host2"] = {}
    status, output = simulation.run("breach", *ONE)
    assert status == 0, output[-3000:]
    assert calls(simulation, "tunnel_ca", phase="added") == []
    assert [c["arguments"].get("token_version") for c in calls(simulation, "tunnel_token")] == [
        None
    ]
    assert calls(simulation, "support") == []
    assert "an earlier run has wiped it" in output


def test_a_host_that_cannot_be_reached_hinders_nobody(simulation):
    simulation.attack("host2", unreachable=True)
    status, output = simulation.run("breach", *ONE)
    assert status != 0
    assert "host2 was not taken out completely" in output
    for said in ("NO evidence was collected", "NOT contained", "NOT wiped", "Cut it off at"):
        assert said in output, said
    assert position(simulation, "tunnel_ca", "host1", phase="added") < position(
        simulation, "tunnel_ca", "host1", phase="retired"
    )
    assert calls(simulation, "state_host")[-1]["arguments"]["state"] == "released"


def test_the_state_host_is_taken_out(simulation):
    """Nothing is read there; its CA is lost, and another host has the state from now on."""
    simulation.world["contents"]["host2"] = {
        simulated_hosts.CONFIG: {
            "ca.crt": simulated_hosts.CA.strip(),
            "members.json": json.dumps({"replicas": ["host1", "host2"], "state_host": "host1"}),
        }
    }
    simulation.world["remembered"] = {"host2": {"state_host": "host1", "replicas": ["host1"]}}
    status, output = simulation.run("breach", *STATE_HOST)
    assert status == 0, output[-3000:]
    assert {call["host"] for call in calls(simulation, "state_host")} == {"host2"}
    assert {call["host"] for call in calls(simulation, "tunnel_ca")} == {"host2"}
    previous = [
        entry
        for call in calls(simulation, "file_set")
        for entry in call["arguments"]["entries"]
        if entry["path"].endswith("ca-previous.crt")
    ]
    assert [entry["content"] for entry in previous] == [simulated_hosts.CA]
    assert not calls(simulation, "state_restore")
    asked = [call["module"] for call in simulation.calls() if call["host"] == "host1"]
    assert set(asked) == {"public_files", "support", "replica", "file_set", "systemd_service"}


def test_the_id_of_the_tunnel_is_not_taken_from_it(simulation):
    simulation.variables["mcp_tunnel_id"] = ""
    status, output = simulation.run("breach", *STATE_HOST)
    assert status != 0
    assert "mcp_tunnel_id: is not set, and host2, the state host from now on" in output
    assert {call["module"] for call in simulation.calls()} == {"public_files"}


def test_check_mode_says_what_would_be_done(simulation):
    status, output = simulation.run("breach", "--check", *ONE)
    assert status == 0, output[-3000:]
    assert "host2: the evidence would be in" in output
    assert "would be stopped and masked" in output
    earnest = [c for c in simulation.calls() if not c["arguments"].get("_ansible_check_mode")]
    # Check mode, too, has kept an access token.
    assert {call["module"] for call in earnest} <= {"file_set"}
    assert all(
        entry["path"].startswith("/run/mcp-tunnel-provision/")
        for call in earnest
        for entry in call["arguments"]["entries"]
    )
    assert not (simulation.directory / "archives").exists()


def test_mode_manual_contains_and_says_what_is_to_do(simulation):
    for name in [name for name in simulation.variables if name.startswith("mcp_tunnel_fed")]:
        del simulation.variables[name]
    simulation.variables["mcp_tunnel_mode"] = "manual"
    status, output = simulation.run("breach", *ONE)
    assert status == 0, output[-3000:]
    assert "To do now, in the Console: rotate the token" in output
    assert calls(simulation, "tunnel_ca", phase="added") == []
    assert calls(simulation, "tunnel_ca", phase="retired") == []
    assert position(simulation, "replica", "host2", state="absent")


def test_other_duties_go_by_no_names(simulation):
    status, output = simulation.run("site", *ONE)
    assert status != 0
    assert "is for breach, and deploy does not go by it" in output
    assert simulation.calls() == []


def test_each_duty_that_gives_credentials_says_to_whom(simulation):
    """The state host refuses those that it has marked."""
    status, output = simulation.run("site")
    assert status == 0, output[-3000:]
    held = [
        c["arguments"] for c in calls(simulation, "state_host") if "inventory" in c["arguments"]
    ]
    assert {tuple(call["credentials_for"]) for call in held} == {("host1", "host2", "host3")}
    assert {tuple(call["breached"]) for call in held} == {()}
