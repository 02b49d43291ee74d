"""A run that ends early leaves nothing to wait for, and blames no replica that works."""

from __future__ import annotations

import json

import pytest
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.action.test_waves import (
    make_fleet,
    turns,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import simulated_hosts
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.simulation import Simulation

FAILS = {"merge": {"failed": True, "msg": "No."}}
# Of the calls of state_host, those that take the lease.
HOLDS = {"arguments": {"state": None}}
PREVIOUS = {
    "arguments": {"names": ["ca-previous.crt"]},
    "merge": {"contents": {"ca-previous.crt": simulated_hosts.CA}},
}
RETIRES = {"arguments": {"phase": "retired"}, **FAILS}
# The look after the roll-out, not that of the gate.
UNVERIFIED = {
    "arguments": {"firewall": {"deploying": True}},
    "merge": {"healthy": False, "msg": "edge: 0 of 4 connections."},
}
CONFIRMED = ("-e", "mcp_tunnel_teardown_confirmed=true")


@pytest.mark.parametrize(
    ("mode", "playbook", "module", "answer"),
    [
        pytest.param("manual", "site", "release_tree", FAILS, id="no release"),
        pytest.param(
            "manual",
            "site",
            "replica_health",
            UNVERIFIED,
            id="not verified",
            marks=pytest.mark.exhaustive,
        ),
        pytest.param("manual", "renew_cert", "public_files", PREVIOUS, id="rotation under way"),
        pytest.param("manual", "teardown", "replica", FAILS, id="not stopped"),
        pytest.param(
            "manual",
            "teardown",
            "state_host",
            {"merge": {"present": False}},
            id="no credentials",
            marks=pytest.mark.exhaustive,
        ),
        pytest.param(
            "wif", "rotate_ca", "tunnel_ca", RETIRES, id="not retired", marks=pytest.mark.exhaustive
        ),
    ],
)
def test_the_only_replica_gives_the_lease_back(tmp_path, mode, playbook, module, answer):
    simulation = Simulation(tmp_path, mode)
    simulation.hosts = {"host1": {}}
    simulation.attack("host1", module, **answer)
    status, output = simulation.run(playbook, *CONFIRMED)
    assert status != 0, output
    asked = [
        call["arguments"].get("state", "held")
        for call in simulation.calls()
        if call["module"] == "state_host"
    ]
    assert (asked[0], asked[-1]) == ("held", "released"), output


def test_a_replica_that_fails_the_look_ends_the_run_there(tmp_path):
    """The leader, which has not failed, asks nobody for the lease, and no later play begins."""
    simulation = Simulation(tmp_path)
    simulation.hosts = {"host1": {}, "host2": {}}
    simulation.attack("host2", "host_check", **FAILS)
    status, output = simulation.run()
    assert status != 0
    assert "PLAY [Ship the releases]" not in output
    assert {call["module"] for call in simulation.calls()} == {"host_check"}, output[-3000:]


def released(simulation):
    """Return the instances of which the last word is that they were let go."""
    said = [call["arguments"] for call in simulation.calls() if call["module"] == "state_host"]
    last = {each["instance"]: each.get("state") for each in said}
    return sorted(name for name, state in last.items() if state == "released")


def fleet_of(directory, **sizes):
    """Return tunnels of so many replicas each, as make_fleet has them."""
    simulation = make_fleet(directory, *sizes)
    for name in list(simulation.hosts):
        if int(name[-1]) > sizes[name[:-1]]:
            del simulation.hosts[name]
    return simulation


def test_tunnels_that_are_done_are_summed_up_after_a_wave_of_which_all_is_lost(tmp_path):
    """Ansible would end the run there. Of another tunnel, no replica works in the end."""
    simulation = fleet_of(tmp_path, red=2, blue=1, green=1)
    simulation.attack("red2", "replica", unreachable=True)
    simulation.attack("green1", "replica_health", **UNVERIFIED)
    status, output = simulation.run()
    assert status != 0
    assert released(simulation) == ["blue", "green", "red"], output[-3000:]
    told = output.partition("[Sum up]")[2]
    assert "1 of 3 tunnels is done." in told, told[:2000]
    assert "stopped at red2: it could not be reached." in told
    assert "stopped at green1: edge: 0 of 4 connections." in told
    assert "blue, abcd1234.tunnel.example: done (blue1)" in told
    assert "1 of 1 replicas work (blue1)" in told
    failed = told.partition("[Fail]")[2]
    assert "red2 failed, see above." in failed
    assert "green1 failed, see above." in failed
    # It may be at work on what it was asked for.
    assert [c["host"] for c in simulation.calls() if c["module"] == "replica"][-1] == "red2"


def test_a_teardown_wipes_the_other_tunnels_after_a_wave_of_which_all_has_failed(tmp_path):
    simulation = fleet_of(tmp_path, red=2, blue=1)
    simulation.attack("red2", "replica", **FAILS)
    status, output = simulation.run("teardown", *CONFIRMED)
    assert status != 0
    wiped = [call["host"] for call in simulation.calls() if call["module"] == "file_set"]
    assert {*wiped} == {"blue1"}, output[-3000:]
    assert released(simulation) == ["blue", "red"]
    assert "stopped at red2: No." in output.partition("[Sum up]")[2]


def test_a_reboot_goes_on_after_a_wave_of_which_all_has_failed(tmp_path):
    """And holds each instance anew: its state host was rebooted, as that of another one."""
    simulation = fleet_of(tmp_path, red=3, blue=2)
    for name in ("blue1", "blue2"):
        simulation.hosts[name]["mcp_tunnel_state_host"] = "red1"
    simulation.world["contents"] = {}
    simulation.attack("red3", "replica_drain", **FAILS)
    status, output = simulation.run("reboot")
    assert status != 0
    calls = simulation.calls()
    turns = {
        name: [
            at
            for at, call in enumerate(calls)
            if (call["host"], call["module"]) == (name, module)
            and call["arguments"].get("state") != "looked"
        ]
        for name, module in (("red1", "reboot"), ("blue2", "replica_drain"))
    }
    between = calls[turns["red1"][0] : turns["blue2"][0]]
    held = [call["arguments"] for call in between if call["module"] == "state_host"]
    assert sorted(each["instance"] for each in held if "state" not in each) == ["blue", "red"]
    assert released(simulation) == ["blue", "red"]
    told = output.partition("[Sum up]")[2]
    assert "blue, abcd1234.tunnel.example: done (blue1, blue2)" in told, told[:2000]
    assert "stopped at red3: No." in told


def test_a_state_host_that_dies_in_its_turn(tmp_path):
    """Its replicas cannot give the lease back, which is no failure of theirs.

    The strategy of ansible.cfg is not that of these plays: they need all hosts in step.
    """
    simulation = make_fleet(tmp_path, "red", "blue")
    simulation.settings["ANSIBLE_STRATEGY"] = "free"
    simulation.attack("red1", "replica", unreachable=True)
    released = {"state": "released"}
    simulation.attack("red1", "state_host", arguments=released, unreachable=True)
    status, output = simulation.run()
    assert status != 0
    assert sorted(turns(simulation)) == ["blue1", "blue2", "blue3", "red1"]
    told = output.partition("[Sum up]")[2]
    assert "stopped at red1: it could not be reached. Not touched: red2, red3." in told, told[:900]
    assert "1 of 2 tunnels is done." in told


def test_the_teardown_of_a_tunnel_that_stops_is_not_that_of_the_others(tmp_path):
    """The API refuses one of two tunnels: only that one keeps its credentials."""
    simulation = Simulation(tmp_path, "wif")
    del simulation.variables["mcp_tunnel_id"]
    simulation.variables["mcp_tunnel_archive"] = True
    simulation.hosts = {
        name: {
            "mcp_tunnel_instance": name,
            "mcp_tunnel_id": f"tnl_{name}",
            "mcp_tunnel_state_host": name,
        }
        for name in ("red", "blue")
    }
    simulation.world["contents"] = {
        name: {
            f"/var/lib/mcp-tunnel/{name}": {"tunnel-id": f"tnl_{name}"},
            "/opt/mcp-tunnel/proxy/current/bin": {},
        }
        for name in ("red", "blue")
    }
    simulation.attack("red", "tunnel", **FAILS)
    simulation.attack("blue", "tunnel", merge={"tunnel_id": "tnl_blue"})
    status, output = simulation.run("teardown", *CONFIRMED)
    assert status != 0
    wiped = {
        (call["host"], entry["path"])
        for call in simulation.calls()
        if call["module"] == "file_set"
        for entry in call["arguments"]["entries"]
        if entry["path"].startswith("/var/lib/mcp-tunnel/")
    }
    # The second is what a restore leaves that was killed.
    assert wiped == {
        ("blue", "/var/lib/mcp-tunnel/blue"),
        ("blue", "/var/lib/mcp-tunnel/.blue.restoring"),
    }, output[-3000:]
    ends = [call["host"] for call in simulation.calls() if call["module"] == "state_host"][-2:]
    assert sorted(ends) == ["blue", "red"]


@pytest.mark.parametrize(
    "attack",
    [pytest.param(("replica", FAILS), marks=pytest.mark.exhaustive), ("state_host", FAILS | HOLDS)],
)
def test_a_run_in_which_every_tunnel_stops_ends_with_the_summary(tmp_path, attack):
    """Ansible ends it there, in the first wave or before, so no play comes that would sum it up."""
    simulation = make_fleet(tmp_path, "red", "blue")
    module, answer = attack
    for host in ("red1", "blue1"):
        simulation.attack(host, module, **answer)
    status, output = simulation.run()
    assert status != 0
    assert "0 of 2 tunnels are done." in output
    assert "stopped at red1: No. Not touched: red2, red3." in output, output[-3000:]
    assert "stopped at blue1: No. Not touched: blue2, blue3." in output


@pytest.mark.parametrize(
    ("playbook", "names"),
    [
        ("site", ["host1", "host2"]),
        ("teardown", ["host1"]),
        pytest.param("site", ["host1"], marks=pytest.mark.exhaustive),
        pytest.param("teardown", ["host1", "host2"], marks=pytest.mark.exhaustive),
    ],
)
def test_a_lease_that_cannot_be_held_for_longer_stops_the_tunnel(tmp_path, playbook, names):
    """Its replicas are not touched, also those of the same wave, and the run says why."""
    simulation = Simulation(tmp_path)
    simulation.hosts = {name: {} for name in names}
    simulation.variables |= {"mcp_tunnel_batch": "100%", "mcp_tunnel_forget": ["gone"]}
    # As if the run had held the instance for hours. Only what asks for it later forgets no host.
    files = {"ca.crt": simulated_hosts.CA.strip(), "tunnel-domain": simulated_hosts.DOMAIN}
    held = {"at": 0, "present": True, "contents": files, "noted": True, "misfit": ""}
    lost = {"arguments": {"state": None, "forget": []}}
    simulation.attack("host1", "state_host", **lost, **FAILS)
    arguments = ("-e", json.dumps({"__provision_held": held}), *CONFIRMED)
    status, output = simulation.run(playbook, *arguments)
    assert status != 0
    assert "The tunnel is not done." in output, output[-3000:]
    assert "stopped at host1: No." in output
    assert not [call for call in simulation.calls() if call["module"] == "replica"]
    asked = [call for call in simulation.calls() if call["module"] == "state_host"]
    assert asked[-1]["arguments"].get("state") == "released"


@pytest.mark.parametrize(
    ("tunnels", "told"),
    [
        pytest.param(["red"], "The tunnel is not done.", marks=pytest.mark.exhaustive),
        (["red", "blue"], "0 of 2 tunnels are done."),
    ],
)
def test_a_look_at_replicas_of_which_none_works_ends_with_the_summary(tmp_path, tunnels, told):
    simulation = make_fleet(tmp_path, *tunnels)
    for name in simulation.hosts:
        broken = {"healthy": False, "msg": f"edge of {name}: 0 of 4 connections."}
        simulation.attack(name, "replica_health", merge=broken)
    status, output = simulation.run("verify")
    assert status != 0
    assert told in output, output[-3000:]
    for name in simulation.hosts:
        assert f"stopped at {name}: edge of {name}: 0 of 4 connections." in output


def test_a_look_at_replicas_of_which_one_works_is_summed_up_once(tmp_path):
    simulation = make_fleet(tmp_path, "red")
    for name in ("red1", "red2"):
        simulation.attack(name, "replica_health", merge={"healthy": False, "msg": "No."})
    status, output = simulation.run("verify")
    assert status != 0
    assert output.count("is not done.") <= 1, output[-3000:]


def test_a_state_host_whose_ca_is_refused_gets_no_token(tmp_path):
    """A second one, for example: the tunnel has the CA of another."""
    simulation = Simulation(tmp_path, "wif")
    simulation.attack("host1", "tunnel_ca", **FAILS)
    status, output = simulation.run("rotate_token")
    assert status != 0, output
    asked = [call["module"] for call in simulation.calls()]
    assert "tunnel_ca" in asked
    assert "tunnel_token" not in asked
