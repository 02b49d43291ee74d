"""What a run shows under Ansible's own settings, where the results of tasks are JSON."""

from __future__ import annotations

import json
import os
import re

from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import simulated_hosts
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.simulation import Simulation

TABLE = ["layer  object  state", "proxy  readyz  ok"]


def shown(output: str) -> list[str]:
    """The texts that stand in a line of their own."""
    lines = [line.strip().rstrip(",") for line in output.splitlines()]
    return [json.loads(line) for line in lines if re.fullmatch(r'"([^"\\]|\\.)*"', line)]


def test_verify_shows_lines_and_repeats_what_is_to_be_registered(tmp_path):
    simulation = Simulation(tmp_path)
    simulation.attack("host1", "replica_health", merge={"table": TABLE})
    status, output = simulation.run("verify")
    assert status == 0, output
    # The run is as verbose as can be, so that the tables are in the answers before, too.
    lines = shown(output.partition("TASK [Show the tables]")[2])
    assert [line for line in lines if line in TABLE] == TABLE
    last = "\n".join(lines[-7:])
    assert "2 of 2 replicas work (host1, host2)" in last
    assert "register the CA certificate" in last
    assert f"SHA-256 {'cd' * 32}" in last
    assert "/etc/mcp-tunnel/default/ca.crt" in last
    assert f"https://echo.{simulated_hosts.DOMAIN}" in last


def test_in_mode_wif_there_is_nothing_to_register(tmp_path):
    simulation = Simulation(tmp_path, "wif")
    status, output = simulation.run("verify")
    assert status == 0, output
    assert "register the CA" not in output
    assert f"https://echo.{simulated_hosts.DOMAIN}" in output


def test_a_controller_without_pip_changes_no_host(tmp_path):
    simulation = Simulation(tmp_path)
    package = tmp_path / "site/pip"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text("raise SystemExit('No module named pip')\n")
    search = f"{package.parent}:{os.environ.get('PYTHONPATH', '')}"
    simulation.settings = {"PYTHONPATH": search, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    status, output = simulation.run("site")
    assert status != 0
    assert "pip on the controller, for " in output
    assert "for host1, host2. Install it" in output
    assert {call["module"] for call in simulation.calls() if call["module"]} == {"host_check"}
