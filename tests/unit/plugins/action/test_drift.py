"""The playbook drift over simulated hosts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.action import drift
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import role_options
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.action.test_waves import make_fleet
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.simulated_hosts import (
    OF_A_CERTIFICATE,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.simulation import Simulation

CHANGED = {"merge": {"changed": True}}


def signed_in_time(simulation):
    """Let every replica have a certificate that is not due."""
    good = {"needed": False, "csr": "", "reasons": [], **OF_A_CERTIFICATE}
    for host in simulation.hosts:
        simulation.attack(host, "server_cert", arguments={"state": "requested"}, merge=good)


@pytest.fixture
def simulation(tmp_path):
    """Two replicas with a node exporter each."""
    simulation = Simulation(tmp_path)
    simulation.variables["mcp_tunnel_textfile_dir"] = "/srv/exporter"
    signed_in_time(simulation)
    return simulation


def reports(simulation):
    """Return host to the options of the module drift."""
    return {
        call["host"]: call["arguments"] for call in simulation.calls() if call["module"] == "drift"
    }


def test_a_replica_that_differs(simulation):
    """The other one does not, and the report of both is written."""
    simulation.attack("host2", "firewall", **CHANGED)
    status, output = simulation.run("drift", "--check")
    assert status != 0
    assert "host2 differs from the inventory" in output, output[-3000:]
    assert "It differs in: firewall." in output
    assert "host1 differs" not in output
    made = reports(simulation)
    assert {host: options["parts"] for host, options in made.items()} == {
        "host1": [],
        "host2": ["firewall"],
    }
    for options in made.values():
        assert options["directory"] == "/srv/exporter"
        assert options["_ansible_check_mode"] is False
        # 2027-01-30T12:00:00Z, the end of the simulated CA.
        assert options["ca_expiry"] == 1_801_310_400
        assert options["checked_at"] > 1_700_000_000


def test_hosts_without_a_node_exporter(simulation):
    """No host is asked for a report, and a tunnel's credentials are those of all replicas."""
    simulation.variables["mcp_tunnel_textfile_dir"] = ""
    simulation.attack("host1", "tunnel_ca", **CHANGED)
    status, output = simulation.run("drift", "--check")
    assert status != 0
    assert output.count("It differs in: credentials.") == 2, output[-3000:]
    assert reports(simulation) == {}


def test_a_host_without_the_directory(simulation):
    simulation.attack("host1", "drift", merge={"written": False})
    status, output = simulation.run("drift", "--check")
    assert status != 0
    assert "mcp_tunnel_textfile_dir: /srv/exporter is no directory of this host" in output
    assert "It differs in" not in output
    assert "host2 differs" not in output


RESULTS = {
    "__proxy_release": "releases",
    "__cloudflared_release": "releases",
    "__proxy_file_set": "files",
    "__proxy_renewal_key": "files",
    "__cloudflared_file_set": "files",
    "__cloudflared_repository": "files",
    "__proxy_installed": "certificate",
    "__firewall_loaded": "firewall",
    "__mcp_tunnel_applied": "services",
    "__provision_ca": "credentials",
    "__provision_token": "credentials",
    "__provision_tunnel": "credentials",
}


def test_every_result_that_counts():
    """Each is one that a task of the roles, or of site.yml, registers."""
    root = Path(role_options.__file__).parents[3]
    files = [root / "playbooks/site.yml", *root.glob("roles/*/tasks/*.yml")]
    registered = {
        name for file in files for name in re.findall(r"register: (\w+)", file.read_text())
    }
    assert RESULTS.keys() <= registered
    for name, part in RESULTS.items():
        found = {name: {"changed": True}}
        assert drift._parts(found, found) == [part], name
        assert drift._parts({name: {"changed": False}}, {}) == []
    assert drift._parts({"__proxy_request": {"needed": True}}, {}) == ["certificate"]
    assert drift._parts({"__proxy_file_set": {"skipped": True}}, {}) == []


def test_a_tunnel_that_does_not_work_hides_no_drift_of_another(tmp_path):
    """Ansible ends a run with a play in which all hosts have failed: nothing may follow it."""
    simulation = make_fleet(tmp_path, "red", "blue")
    simulation.hosts = {name: simulation.hosts[name] for name in ("red1", "blue1")}
    simulation.variables["mcp_tunnel_textfile_dir"] = "/srv/exporter"
    signed_in_time(simulation)
    broken = {"healthy": False, "msg": "edge: 0 of 4 connections."}
    simulation.attack("red1", "replica_health", merge=broken)
    simulation.attack("blue1", "firewall", **CHANGED)
    status, output = simulation.run("drift", "--check")
    assert status != 0
    assert "red1 does not work" in output
    assert "blue1 differs from the inventory" in output, output[-3000:]
    assert {host: made["parts"] for host, made in reports(simulation).items()} == {
        "red1": [],
        "blue1": ["firewall"],
    }


def test_it_never_deploys(simulation):
    status, output = simulation.run("drift")
    assert status != 0
    assert "run it with --check" in output
    assert simulation.calls() == []
