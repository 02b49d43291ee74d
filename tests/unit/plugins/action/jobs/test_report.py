"""The report of a run: what each playbook, and each way to fail, leaves behind for programs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import simulated_hosts
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.simulation import Simulation

BROKEN = {"healthy": False, "msg": "edge: 0 of 4 connections."}
FINGERPRINT = "cd" * 32


def run(simulation: Simulation, playbook: str, *arguments: str) -> tuple[int, dict[str, Any], str]:
    """Return exit status, report and output; the report is the only thing that is left behind."""
    simulation.settings["ANSIBLE_SHOW_CUSTOM_STATS"] = "1"
    status, output = simulation.run(playbook, *arguments)
    told = output.partition("CUSTOM STATS: ")[2]
    left = json.JSONDecoder().raw_decode(told[told.index("RUN: ") + 5 :].lstrip())[0]
    assert list(left) == ["mcp_tunnel_report"]
    return status, left["mcp_tunnel_report"], output


def test_a_deployment(tmp_path):
    simulation = Simulation(tmp_path)
    simulation.world["missing"] = ["host3"]
    simulation.attack("host1", "tunnel_ca", merge={"changed": True})
    status, report, output = run(simulation, "site")
    assert status == 0, output[-3000:]
    assert report == {
        "duty": "deploy",
        "check_mode": False,
        "status": "done",
        "tunnels": {
            "default": {
                "status": "done",
                "why": [],
                "mode": "manual",
                "domain": simulated_hosts.DOMAIN,
                "tunnel_id": "tnl_01ABCDEF",
                "state_host": "host1",
                "healthy": ["host1", "host2"],
                "unhealthy": [],
                "unproven": [],
                "removed": [],
                "drained": [],
                "left_out": [],
                "missing": ["host3"],
                "ca": {
                    "fingerprint": FINGERPRINT,
                    "certificate": simulated_hosts.CA,
                    "registration": "to do",
                },
            }
        },
        "cut": [],
    }


@pytest.mark.parametrize(
    ("mode", "playbook", "arguments", "expected"),
    [
        ("manual", "verify", ["--limit", "host1"], {"healthy": ["host1"], "unproven": ["host2"]}),
        ("manual", "support", [], {"healthy": [], "unproven": ["host1", "host2"]}),
        ("manual", "renew_cert", [], {"unproven": []}),
        (
            "manual",
            "drain",
            ["-e", '{"mcp_tunnel_drain": ["host2"]}'],
            {"healthy": ["host1"], "drained": ["host2"], "unproven": []},
        ),
        ("wif", "rotate_token", [], {"healthy": ["host1", "host2"]}),
        pytest.param(
            *("wif", "rotate_ca", [], {"healthy": ["host1", "host2"]}),
            marks=pytest.mark.exhaustive,
        ),
        (
            "manual",
            "teardown",
            ["--check", "-e", "awx_job_id=7"],
            {"removed": ["host1", "host2"], "unproven": []},
        ),
    ],
)
def test_each_duty(tmp_path, mode, playbook, arguments, expected):
    simulation = Simulation(tmp_path, mode)
    status, report, output = run(simulation, playbook, *arguments)
    assert status == 0, output[-3000:]
    tunnel = report["tunnels"]["default"]
    assert (report["duty"], report["status"], tunnel["status"]) == (playbook, "done", "done")
    assert report["check_mode"] == ("--check" in arguments)
    assert tunnel | expected == tunnel
    registration = "unknown" if mode == "manual" else "done"
    assert tunnel["ca"]["registration"] == registration
    assert bool(tunnel["ca"]["certificate"]) == (playbook == "renew_cert")
    held = [c["arguments"] for c in simulation.calls() if c["module"] == "state_host"]
    if playbook.startswith("rotate"):
        assert held[0]["needs_all"], "a replica that is not here would be cut off"


@pytest.mark.parametrize(
    ("playbook", "module", "answer", "status", "why"),
    [
        # Ansible ends each of these runs before its last play.
        ("verify", "replica_health", BROKEN, "stopped", "stopped at host1: edge: 0 of 4 conne"),
        pytest.param(
            *("site", "replica_health", BROKEN, "stopped", "stopped at host1: edge: 0 of 4 conne"),
            marks=pytest.mark.exhaustive,
        ),
        pytest.param(
            *("renew_cert", "replica_health", BROKEN, "stopped", "stopped at host1: edge: 0"),
            marks=pytest.mark.exhaustive,
        ),
        ("site", "host_check", {"failed": True, "msg": "No."}, "unfinished", ""),
        ("site", "tunnel_ca", {"failed": True, "msg": "No."}, "stopped", "stopped at host1: No."),
        ("renew_cert", "tunnel_ca", {"failed": True, "msg": "No."}, "stopped", "stopped at host1"),
        pytest.param(
            *(
                "support",
                "support",
                {"failed": True, "msg": "No."},
                "stopped",
                "stopped at host1: ",
            ),
            marks=pytest.mark.exhaustive,
        ),
        ("support", "support", {"secrets": ["a"]}, "stopped", "stopped at host1: files were left"),
        ("undrain", "replica_health", BROKEN, "stopped", "stopped at host1: edge: 0 of 4 conne"),
        ("reboot", "state_host", {"failed": True, "msg": "No."}, "stopped", "stopped at host1: No"),
    ],
)
def test_a_run_that_fails_tells_what_it_knew(tmp_path, playbook, module, answer, status, why):
    simulation = Simulation(tmp_path)
    simulation.hosts = {"host1": {}}
    simulation.attack("host1", module, merge=answer)
    code, report, output = run(simulation, playbook)
    tunnel = report["tunnels"]["default"]
    assert code != 0
    assert (report["status"], tunnel["status"]) == (status, status), output[-3000:]
    assert "".join(tunnel["why"])[: len(why)] == why
    assert tunnel["unhealthy"] == (["host1"] if module == "replica_health" else [])
    held = [c["arguments"].get("state") for c in simulation.calls() if c["module"] == "state_host"]
    assert playbook != "site" or held[-1:] in ([], ["released"]), "the lease is given back"


def test_a_drain_that_is_refused(tmp_path):
    code, report, output = run(Simulation(tmp_path), "drain", "--limit", "host2")
    tunnel = report["tunnels"]["default"]
    assert (code != 0, report["status"], tunnel["status"]) == (True, "stopped", "stopped"), output
    assert "host2: may not leave: 0 of 2 replicas would be known to work" in tunnel["why"][0]
    assert (tunnel["healthy"], tunnel["drained"]) == (["host2"], [])


def test_a_refused_variable_is_in_the_report(tmp_path):
    simulation = Simulation(tmp_path)
    simulation.variables["proxy_listen_port"] = 1
    code, report, _output = run(simulation, "site")
    tunnel = report["tunnels"]["default"]
    assert (code != 0, report["status"], tunnel["status"]) == (True, "stopped", "stopped")
    assert "1 problem in the variables of host" in tunnel["why"][0]
    assert tunnel["domain"] == simulated_hosts.DOMAIN


def test_hosts_that_were_left_out_and_tunnels_that_stopped(tmp_path):
    simulation = Simulation(tmp_path)
    simulation.hosts = {
        "host1": {},
        "host2": {},
        "other1": {"mcp_tunnel_instance": "other", "mcp_tunnel_state_host": "other2"},
        "other2": {"mcp_tunnel_instance": "other", "mcp_tunnel_state_host": "other2"},
    }
    simulation.attack("host2", unreachable=True)
    simulation.attack("other2", unreachable=True)
    code, report, output = run(simulation, "site")
    tunnels = report["tunnels"]
    assert code != 0
    assert tunnels["default"]["status"] == "done", output[-3000:]
    assert tunnels["default"]["left_out"] == ["host2"]
    assert tunnels["default"]["unproven"] == []
    assert tunnels["other"]["status"] == report["status"] == "stopped"
    assert (
        "other2: could not be reached, and other2 is the state host" in tunnels["other"]["why"][0]
    )


def test_a_report_of_an_earlier_job_changes_nothing(tmp_path):
    """AWX gives it to the later jobs of a workflow, as an extra variable."""
    earlier = {"mcp_tunnel_report": {"status": "stopped", "tunnels": {"default": {"ca": "x"}}}}
    status, report, output = run(Simulation(tmp_path), "verify", "-e", json.dumps(earlier))
    assert status == 0, output[-3000:]
    assert report["status"] == "done"
    assert report["tunnels"]["default"]["ca"]["fingerprint"] == FINGERPRINT


def test_a_failure_that_a_teardown_gets_over_is_none(tmp_path):
    """The API refuses to archive the CA, which a teardown does not depend on."""
    simulation = Simulation(tmp_path, "wif")
    simulation.attack("host1", "tunnel_ca", merge={"failed": True, "msg": "No."})
    confirmed = "mcp_tunnel_teardown_confirmed=true"
    code, report, output = run(simulation, "teardown", "-e", confirmed)
    tunnel = report["tunnels"]["default"]
    assert code == 0, output[-3000:]
    assert (report["status"], tunnel["status"], tunnel["why"]) == ("done", "done", [])
