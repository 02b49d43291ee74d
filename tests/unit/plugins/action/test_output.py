"""Output of a run under Ansible's own settings, where the results of tasks are JSON."""

from __future__ import annotations

import json
import os
import re

from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import simulated_hosts
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.simulation import Simulation

TABLE = ["layer  object  state", "proxy  readyz  ok"]


def shown(output: str) -> list[str]:
    """Return the texts that stand in a line of their own."""
    lines = [line.strip().rstrip(",") for line in output.splitlines()]
    return [json.loads(line) for line in lines if re.fullmatch(r'"([^"\\]|\\.)*"', line)]


def test_verify_shows_lines_and_repeats_what_is_to_be_registered(tmp_path):
    simulation = Simulation(tmp_path)
    simulation.attack("host1", "replica_health", merge={"table": TABLE})
    status, output = simulation.run("verify")
    assert status == 0, output
    # At the highest verbosity, the tables are in the answers before, too.
    lines = shown(output.partition("TASK [Show the tables]")[2])
    assert [line for line in lines if line in TABLE] == TABLE
    last = "\n".join(lines[-7:])
    assert "2 of 2 replicas work (host1, host2)" in last
    assert "register the CA certificate" in last
    assert f"SHA-256 {'cd' * 32}" in last
    assert "/etc/mcp-tunnel/default/ca.crt" in last
    assert f"https://echo.{simulated_hosts.DOMAIN}" in last


def test_a_replica_that_was_left_out_is_not_told_to_be_broken(tmp_path):
    status, output = Simulation(tmp_path).run("verify", "--limit=host1")
    assert status == 0, output
    assert "1 of 2 replicas work (host1)" in output
    assert "This run has not proven host2." in output


def test_in_mode_wif_there_is_nothing_to_register(tmp_path):
    simulation = Simulation(tmp_path, "wif")
    status, output = simulation.run("verify")
    assert status == 0, output
    assert "register the CA" not in output
    assert f"https://echo.{simulated_hosts.DOMAIN}" in output


def test_a_controller_without_pip_changes_no_host(tmp_path):
    simulation = Simulation(tmp_path)
    del simulation.world["unpacked"]  # the hosts are bare
    package = tmp_path / "site/pip"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text("raise SystemExit('No module named pip')\n")
    search = f"{package.parent}:{os.environ.get('PYTHONPATH', '')}"
    simulation.settings = {"PYTHONPATH": search, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    (tmp_path / "cloudflared").write_text("#!/bin/sh\n")
    simulation.variables |= {
        "mcp_tunnel_bundle": "",
        "cloudflared_install_method": "file",
        "cloudflared_binary_file": str(tmp_path / "cloudflared"),
    }
    status, output = simulation.run("site", "--check")
    assert status != 0
    assert "pip on the controller, for " in output
    assert "for host1, host2. Install it" in output
    assert output.count("Install it: ") == 1, "once, and not once per host"
    assert {call["module"] for call in simulation.calls() if call["module"]} == {"host_check"}


def test_a_replica_that_does_not_work_is_told_once_and_put_back(tmp_path):
    simulation = Simulation(tmp_path)
    problem = "edge: http://127.0.0.1:20241/ready: 0 of 4 connections. Let this host reach it."
    broken = {"healthy": False, "msg": f"{problem}\nand its journal", "table": TABLE}
    simulation.attack("host1", "replica_health", merge=broken)
    status, output = simulation.run("site")
    assert status != 0
    assert '"msg": "host1 does not work. See problems."' in output
    end = output.partition("TASK [End the roll-out]")[2]
    assert [line for line in shown(output) if line == problem] == [problem]
    assert f"Why: {problem}" in shown(end)
    assert "The replica was put back to its last good release and configuration." in shown(end)
    failed = 'failed in \\"Prove that the replica works\\"'
    assert f"{failed}; no further replica of its tunnel is touched" in end


def test_a_misfit_is_told_once_and_about_the_variables(tmp_path):
    simulation = Simulation(tmp_path)
    said = "domain: is a.example, but tunnel-domain says b.example. Correct the value, or move the"
    said += " instance to another tunnel with replace: true."
    simulation.attack("host1", "state_host", merge={"already_stored": False, "misfit": said})
    status, output = simulation.run("site")
    assert status != 0
    end = output.partition("TASK [mcp_tunnels.stack.provision : Refuse what does not fit]")[2]
    assert "do not fit /var/lib/mcp-tunnel/default on host1; no host was touched" in end
    assert shown(end)[0] == (
        "mcp_tunnel_domain: is a.example, but tunnel-domain says b.example. Correct the value."
    )
    assert "replace: true" not in end
    assert "[ERROR]: Task failed: Action failed: domain:" not in output


def test_all_misfits_of_mode_wif_are_told(tmp_path):
    simulation = Simulation(tmp_path, "wif")
    simulation.variables |= {"mcp_tunnel_id": "tnl_01OTHER", "mcp_tunnel_domain": "o.example"}
    status, output = simulation.run("site")
    assert status != 0
    end = output.partition("TASK [mcp_tunnels.stack.provision : Refuse what does not fit]")[2]
    assert "mcp_tunnel_id: is tnl_01OTHER, but tunnel-id says tnl_01ABCDEF." in end
    assert (
        f"mcp_tunnel_domain: is o.example, but tunnel-domain says {simulated_hosts.DOMAIN}" in end
    )
