"""Drain, undrain and reboot over simulated hosts: who is asked for what, and who is not."""

from __future__ import annotations

import json

import pytest
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.simulation import Simulation

BROKEN = {"healthy": False, "msg": "edge: 0 of 4 connections."}
ONE = ["-e", '{"mcp_tunnel_drain": ["host2"]}']
LAST = ["-e", "mcp_tunnel_drain_last=true"]


@pytest.fixture
def simulation(tmp_path):
    """Two replicas of one tunnel."""
    return Simulation(tmp_path)


def changing(simulation):
    """Return what was asked for in earnest: host, module and state, in that order."""
    named = {"replica_drain": "drained", "reboot": "rebooted"}
    return [
        (call["host"], call["arguments"].get("state", named[call["module"]]))
        for call in simulation.calls()
        if call["module"] in named
        and call["arguments"].get("state") != "looked"
        and not call["arguments"].get("_ansible_check_mode")
    ]


def tunnels_of_two(*names):
    """Return the replicas 1 and 2 of each tunnel, each on a machine of its own."""
    return {f"{name}{n}": {"mcp_tunnel_instance": name} for name in names for n in (1, 2)}


def asked(simulation, module, state):
    """Return the calls of a module with this state."""
    calls = [call for call in simulation.calls() if call["module"] == module]
    return [call for call in calls if call["arguments"].get("state") == state]


def released(simulation):
    """Return whether the lease was given back after it was taken."""
    states = [
        c["arguments"].get("state") for c in simulation.calls() if c["module"] == "state_host"
    ]
    return states[-1:] == ["released"] and None in states


def test_the_named_replica_is_drained(simulation):
    status, output = simulation.run("drain", *ONE)
    assert status == 0, output[-3000:]
    assert changing(simulation) == [("host2", "drained")]
    assert "host2: drained since 2026-11-29T04:50:00Z. It gets no requests" in output
    assert released(simulation)
    (call,) = [call for call in simulation.calls() if call["module"] == "replica_drain"]
    assert call["arguments"]["purpose"] == "drain"
    assert ", process " in call["arguments"]["by"]


def test_a_drain_in_check_mode(simulation):
    status, output = simulation.run("drain", "--check", *ONE)
    assert status == 0, output[-3000:]
    assert changing(simulation) == []
    drains = [call["host"] for call in simulation.calls() if call["module"] == "replica_drain"]
    assert drains == ["host2"]


def test_too_few_that_stay(simulation):
    """With --limit, nobody knows whether another one works."""
    status, output = simulation.run("drain", "--limit", "host2")
    assert status != 0
    assert "host1 was not looked at in this run" in output
    assert "or set mcp_tunnel_drain_last: true for one run" in output
    assert changing(simulation) == []
    assert released(simulation)
    status, output = simulation.run("drain", "--limit", "host2", *LAST)
    assert status == 0, output[-3000:]
    assert changing(simulation) == [("host2", "drained")]


def test_a_tunnel_that_cannot_go_on_stops_alone(simulation):
    """The last replica of a that works stays; that of b leaves."""
    simulation.hosts = tunnels_of_two("a", "b")
    simulation.attack("a1", "replica_health", merge=BROKEN)
    status, output = simulation.run("drain", "-e", '{"mcp_tunnel_drain": ["a2", "b2"]}')
    assert status != 0
    assert "a2: may not leave: 0 of 2 replicas would be known to work (a1 does not" in output
    assert "No replica of instance a may leave; none of them was touched" in output
    assert changing(simulation) == [("b2", "drained")]
    assert "1 of 2 tunnels is done." in output
    assert "a, abcd1234.tunnel.example: stopped before anything was changed: a2: may not" in output
    assert "b, abcd1234.tunnel.example: done (b1, b2)" in output
    given_back = [c["arguments"]["instance"] for c in asked(simulation, "state_host", "released")]
    assert given_back == ["a", "b"]


def test_a_host_that_cannot_be_reached_does_not_work(simulation):
    """Its health is unknown; it is not the state host, nor the one to be drained."""
    simulation.variables["mcp_tunnel_state_host"] = "host1"
    simulation.attack("host2", "replica_health", unreachable=True)
    status, output = simulation.run("drain", "-e", '{"mcp_tunnel_drain": ["host1"]}')
    assert status != 0
    assert "host1: may not leave: 0 of 2 replicas" in output
    assert changing(simulation) == []


def test_a_lease_that_cannot_be_had(simulation):
    """Its state host is what cannot be reached, and not a replica that could be left out."""
    simulation.variables["mcp_tunnel_state_host"] = "host1"
    simulation.attack("host1", "state_host", unreachable=True)
    status, output = simulation.run("drain", *ONE)
    assert status != 0
    assert "host2 is not touched: this run does not hold instance default" in output
    assert "host1: could not be reached: no route to this host. Bring it back" in output
    assert "is not held by this run" not in output
    assert changing(simulation) == []


def test_names_are_judged_before_the_first_connection(simulation):
    status, output = simulation.run("drain", "-e", json.dumps({"mcp_tunnel_drain": ["host9"]}))
    assert status != 0
    assert "mcp_tunnel_drain: names 'host9', which is no replica" in output
    assert "no host was touched" in output
    assert simulation.calls() == []


@pytest.mark.parametrize(
    ("playbook", "arguments"),
    [("drain", ONE), pytest.param("undrain", [], marks=pytest.mark.exhaustive)],
)
def test_beside_another_run(simulation, playbook, arguments):
    simulation.world["drained"] = ["host2"] if playbook == "undrain" else []
    holder = {
        **{"id": "0" * 16, "owner": "somebody", "controller": "1" * 16, "process": "1:1"},
        **{"since": "2026-11-29T04:50:00Z", "seconds": 60},
    }
    simulation.attack("host1", "state_host", merge={"holder": holder})
    status, output = simulation.run(playbook, *arguments)
    assert status != 0
    assert "another run is changing it" in output
    assert "host2 is not touched: this run does not hold instance default" in output
    assert changing(simulation) == []


def test_a_drained_replica_comes_back_and_is_proven(simulation):
    """host1 does so for an earlier run, which was killed before it started cloudflared."""
    simulation.world["drained"] = ["host2"]
    simulation.world["returning"] = ["host1"]
    status, output = simulation.run("undrain")
    assert status == 0, output[-3000:]
    for host in ("host1", "host2"):
        called = [call for call in simulation.calls() if call["host"] == host]
        back = [c["module"] for c in called if c["module"] not in ("public_files", "state_host")]
        assert back == ["replica_health", "replica_drain", "replica_health", "firewall", "replica"]
        assert (host, "undrained") in changing(simulation)


def test_one_that_does_not_work_without_the_edge_is_not_started(simulation):
    """Nobody has drained host1, so its cloudflared may be stopped for a good reason."""
    simulation.world["drained"] = ["host2"]
    for host in ("host1", "host2"):
        simulation.attack(host, "replica_health", merge=BROKEN)
    status, output = simulation.run("undrain")
    assert status != 0
    for host in ("host1", "host2"):
        assert f"{host} does not work, and is not brought back" in output
    assert "It stays drained." in output
    assert "Nobody has drained it, so it stays as it is." in output
    # This changes nothing on either.
    assert sorted(changing(simulation)) == [("host1", "restored"), ("host2", "restored")]


def test_one_that_does_not_work_at_the_edge_is_drained_again(simulation):
    """host1 was drained before an earlier run that was killed, host2 before this one."""
    simulation.world["drained"] = ["host2"]
    simulation.world["returning"] = ["host1"]
    simulation.world["broken_at_the_edge"] = ["host1", "host2"]
    status, output = simulation.run("undrain")
    assert status != 0
    for host in ("host1", "host2"):
        assert [pair for pair in changing(simulation) if pair[0] == host] == [
            (host, "undrained"),
            (host, "restored"),
        ]
    assert output.count("It is drained again, see above.") >= 2


@pytest.mark.parametrize(
    ("playbook", "module"),
    [("undrain", "replica_health"), ("reboot", "reboot")],
)
def test_a_look_that_fails_everywhere_leaves_nothing_to_wait_for(simulation, playbook, module):
    simulation.hosts = {"host1": {}}
    simulation.attack("host1", module, merge={"failed": True, "msg": "x: is not there. Go."})
    status, output = simulation.run(playbook)
    assert status != 0
    assert "stopped at host1: x: is not there. Go." in output
    assert changing(simulation) == []
    assert released(simulation)


def test_names_are_for_drain_alone(simulation):
    status, output = simulation.run("undrain", *ONE)
    assert status != 0
    assert "mcp_tunnel_drain: is for drain, and undrain does not go by it" in output
    assert simulation.calls() == []


def test_undrain_works_without_the_state_host(simulation):
    """It may be what is away."""
    simulation.variables["mcp_tunnel_state_host"] = "host1"
    simulation.world["drained"] = ["host2"]
    simulation.attack("host1", unreachable=True)
    _status, output = simulation.run("undrain", "--limit", "host2")
    assert ("host2", "undrained") in changing(simulation), output[-3000:]


REBOOTED = [
    ("host1", "drained"),
    ("host1", "rebooted"),
    ("host1", "undrained"),
    ("host2", "drained"),
    ("host2", "rebooted"),
    ("host2", "undrained"),
]


def test_a_reboot_takes_one_after_the_other(simulation):
    status, output = simulation.run("reboot")
    assert status == 0, output[-3000:]
    assert changing(simulation) == REBOOTED
    assert released(simulation)


def test_a_reboot_in_check_mode(simulation):
    status, output = simulation.run("reboot", "--check")
    assert status == 0, output[-3000:]
    assert changing(simulation) == []


def test_only_those_that_need_it(simulation):
    simulation.variables["mcp_tunnel_reboot_when"] = "needed"
    status, output = simulation.run("reboot")
    assert status == 0, output[-3000:]
    assert changing(simulation) == []
    simulation.world["needing_reboots"] = ["host2"]
    status, output = simulation.run("reboot")
    assert status == 0, output[-3000:]
    assert changing(simulation) == REBOOTED[3:]


def test_an_interrupted_reboot_is_completed_first(simulation):
    """Until host2 is back, host1 may not leave."""
    simulation.variables["mcp_tunnel_reboot_when"] = "needed"
    simulation.world["needing_reboots"] = ["host1"]
    simulation.world["drained"] = simulation.world["interrupted_reboots"] = ["host2"]
    status, output = simulation.run("reboot")
    assert status == 0, output[-3000:]
    assert changing(simulation) == REBOOTED[3:] + REBOOTED[:3]


def test_beside_a_replica_that_an_operator_has_drained(simulation):
    simulation.world["drained"] = ["host2"]
    status, output = simulation.run("reboot")
    assert status != 0
    assert "host1: may not leave: 0 of 2 replicas would be known to work (host2 is dra" in output
    assert changing(simulation) == []


def test_a_reboot_stops_at_a_replica_that_does_not_come_back(simulation):
    simulation.world["broken_at_the_edge"] = ["host1"]
    status, output = simulation.run("reboot")
    assert status != 0
    assert changing(simulation) == [*REBOOTED[:3], ("host1", "restored")]
    assert "stopped at host1" in output


def test_a_host_that_does_not_come_back(simulation):
    simulation.variables["mcp_tunnel_reboot_timeout"] = 2
    simulation.attack("host1", "reboot", merge={"machine": "ab" * 8})
    status, output = simulation.run("reboot")
    assert status != 0
    assert "host1: has not come back within 2 seconds after its reboot" in output
    assert changing(simulation) == REBOOTED[:2]


def test_the_controller_of_the_run_is_not_rebooted(simulation):
    simulation.hosts = {"host1": {"ansible_connection": "local"}}
    status, output = simulation.run_tasks([{"mcp_tunnels.stack.reboot": {"state": "looked"}}])
    assert status != 0
    assert "host1: is the controller of this run, which its reboot would end." in output


def test_the_only_replica_is_not_rebooted(simulation):
    simulation.hosts = {"host1": {}}
    status, output = simulation.run("reboot")
    assert status != 0
    assert "host1: may not leave: 0 of 1 replicas" in output
    assert changing(simulation) == []


def test_tunnels_that_cannot_go_on_are_not_rebooted(simulation):
    """Each for a reason of its own, and the others are."""
    simulation.hosts = {
        **tunnels_of_two("fine", "few", "beside", "failed"),
        "failed3": {"mcp_tunnel_instance": "failed"},
    }
    simulation.world["drained"] = ["few2"]
    simulation.world["in_service"] = {"beside1": ["beside", "fine", "of-others"]}
    simulation.attack("failed3", "reboot", merge={"failed": True, "msg": "x: is lost. Go."})
    status, output = simulation.run("reboot", "--check")
    assert status != 0
    assert [call["host"] for call in asked(simulation, "reboot", None)] == ["fine1", "fine2"]
    assert "1 of 4 tunnels is done." in output
    refused = "abcd1234.tunnel.example: stopped before anything was changed: "
    assert f"few, {refused}few1: may not leave: 0 of 2 replicas" in output
    assert f"failed, {refused}failed3: has failed, or could not be reached, see above" in output
    assert f"beside, {refused}beside1: also has instance fine, which takes no part" in output
    assert "beside1: also has instance of-others, which takes no part in this run and wou" in output
    assert "Run with an inventory that has both. Or drain that instance before" in output


@pytest.fixture
def machines(simulation):
    """Two machines with replicas of two tunnels, by their addresses: so calls name them."""
    ports = {"proxy_listen_port": 9080, "proxy_admin_port": 9081, "cloudflared_metrics_port": 9241}
    lab = {"mcp_tunnel_instance": "lab", "mcp_tunnel_domain": "efgh5678.tunnel.example", **ports}
    simulation.hosts = {
        "host1": {"ansible_host": "10.0.0.1"},
        "host2": {"ansible_host": "10.0.0.2"},
        "host2-lab": {"ansible_host": "10.0.0.2", **lab},
        "host1-lab": {"ansible_host": "10.0.0.1", **lab},
    }
    return simulation


def asked_to_reboot(simulation):
    return [
        call["host"]
        for call in simulation.calls()
        if call["module"] == "reboot" and call["arguments"].get("state") != "looked"
    ]


def test_a_machine_with_an_instance_that_cannot_be_drained_is_not_rebooted(machines):
    failing = {"merge": {"failed": True, "msg": "No."}, "arguments": {"instance": "lab"}}
    machines.attack("10.0.0.1", "replica_drain", **failing)
    status, output = machines.run("reboot", "--check")
    assert status != 0
    assert "host1-lab: is on the same machine, and could not be drained. See above." in output
    assert asked_to_reboot(machines) == []


def test_a_machine_with_an_instance_whose_tunnel_has_stopped_is_not_drained(machines):
    """Nobody would reboot it, so it would be away for nothing."""
    back = {"instance": "lab", "state": "undrained"}
    failed = {"failed": True, "msg": "No."}
    machines.attack("10.0.0.1", "replica_drain", arguments=back, merge=failed)
    status, output = machines.run("reboot", "--check")
    assert status != 0
    assert "host2-lab: is on the same machine, and its tunnel has stopped. See above." in output
    assert "host2 is not rebooted, and was not drained" in output
    assert asked_to_reboot(machines) == ["10.0.0.1"]
    drained = [call["host"] for call in machines.calls() if call["module"] == "replica_drain"]
    assert {*drained} == {"10.0.0.1"}


def test_a_machine_of_two_tunnels_is_rebooted_once(machines):
    """Each tunnel has another replica, which serves meanwhile."""
    simulation = machines
    status, output = simulation.run("reboot", "--check")
    assert status == 0, output[-3000:]
    assert asked_to_reboot(simulation) == ["10.0.0.1", "10.0.0.2"]
    drained = [c for c in simulation.calls() if c["module"] == "replica_drain"]
    assert [c["host"] for c in drained[:2]] == ["10.0.0.1", "10.0.0.1"]
    assert {c["arguments"]["instance"] for c in drained[:2]} == {"default", "lab"}
    status, output = simulation.run("reboot", "--check", "--limit", "host1,host2")
    assert status != 0
    assert "host1: is one machine with host1-lab, which takes no part in this run" in output


def test_a_drained_replica_counts_as_away_in_a_deployment(simulation):
    """Of three with two at a time, one goes at a time while another one is drained."""
    simulation.hosts = {"host1": {}, "host2": {}, "host3": {}}
    simulation.world["contents"] = {}
    simulation.world["drained"] = ["host3"]
    simulation.variables["mcp_tunnel_batch"] = 2
    status, output = simulation.run("site")
    assert status == 0, output[-3000:]
    remembered = [
        call["host"]
        for call in simulation.calls()
        if call["module"] in ("replica", "firewall") and call["arguments"].get("state") == "good"
    ]
    assert set(remembered) == {"host1", "host2"}, "nothing is proven of the edge on host3"
    applied = [
        call["host"]
        for call in simulation.calls()
        if call["module"] == "replica" and "state" not in call["arguments"]
    ]
    order = [c["host"] for c in simulation.calls() if c["module"] in ("replica", "replica_health")]
    assert order.index("host2") > max(at for at, name in enumerate(order[:4]) if name == "host1")
    assert applied == ["host1", "host2", "host3"]
    assert "2 of 3 replicas work (host1, host2)" in output
    assert "host3: drained since 2026-11-29T04:50:00Z. undrain.yml brings it back." in output
