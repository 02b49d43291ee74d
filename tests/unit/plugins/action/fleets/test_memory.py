"""A run goes by what all replicas remember, and by names that mean one host each."""

from __future__ import annotations

import json

from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import simulated_hosts
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.simulation import Simulation

CONFIRMED = ("-e", "mcp_tunnel_teardown_confirmed=true")


def make_simulation(directory, **state_hosts: str) -> Simulation:
    """host1 has the credentials; each host remembers its state host, or nothing if that is empty.

    A new host comes first, in the group and by name.
    """
    simulation = Simulation(directory, "wif")
    simulation.variables["mcp_tunnel_archive"] = True
    simulation.hosts = {"a-new": {}, **{name: {} for name in state_hosts}}
    simulation.world["contents"] = {
        name: {
            simulated_hosts.CONFIG: {
                "members.json": json.dumps({"state_host": state_host, "replicas": []})
            }
        }
        for name, state_host in state_hosts.items()
    }
    simulation.world["contents"]["host1"] |= {
        simulated_hosts.STATE: {"tunnel-id": "tnl_01ABCDEF"},
        "/opt/mcp-tunnel/proxy/current/bin": {},
    }
    return simulation


def test_a_teardown_archives_the_tunnel_also_beside_a_new_replica(tmp_path):
    simulation = make_simulation(tmp_path, host1="host1", host2="host1")
    status, output = simulation.run("teardown", *CONFIRMED)
    assert status == 0, output[-3000:]
    asked = [(call["module"], call["host"]) for call in simulation.calls()]
    assert ("tunnel", "host1") in asked
    assert {host for module, host in asked if module == "state_host"} == {"host1"}


def test_a_look_goes_by_what_the_state_host_says_also_without_the_leader(tmp_path):
    """The domain is not in the inventory. Of another tunnel, the state host is what is away."""
    simulation = make_simulation(tmp_path, host1="host1", host2="host1")
    del simulation.variables["mcp_tunnel_domain"]
    stored = simulation.world["contents"]["host1"][simulated_hosts.STATE]
    stored["tunnel-domain"] = simulated_hosts.DOMAIN
    lost = {"mcp_tunnel_instance": "lost", "mcp_tunnel_id": "tnl_lost"}
    for name in ("lost1", "lost2"):
        simulation.hosts[name] = {**lost, "mcp_tunnel_state_host": "lost1"}
    simulation.attack("a-new", unreachable=True)
    simulation.attack("lost1", unreachable=True)
    status, output = simulation.run("verify")
    assert status != 0
    assert "2 of 3 replicas work (host1, host2)" in output, output[-3000:]
    assert "is not set, and lost1 could not be asked for it (no route to this host)" in output
    assert "Mend that, or set it. Nothing was changed." in output
    assert "Run site.yml first" not in output


def test_a_host_that_no_wave_would_have_is_refused(tmp_path):
    simulation = Simulation(tmp_path)
    simulation.hosts = {"host1": {}, "web 1": {}, "ungrouped": {}}
    status, output = simulation.run()
    assert status != 0
    assert "Host 'web 1': has a name that may mean other hosts" in output
    assert "Host 'ungrouped': has the name of a group" in output
    assert simulation.calls() == []
