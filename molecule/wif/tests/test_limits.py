"""Steps that must not be done to some replicas alone; state that a roll-back must not restore."""

from __future__ import annotations

import json

import pytest
from deployed import stored, tunnel
from replicas import HOSTS, TOGETHER, play, recap, shell
from tunnels_api import NEXT_CALLS, asked

ARCHIVE = ("-e", "mcp_tunnel_teardown_confirmed=true", "-e", "mcp_tunnel_archive=true")


@pytest.mark.parametrize(
    ("playbook", "arguments"), [("rotate_token", ()), ("rotate_ca", ()), ("teardown", ARCHIVE)]
)
def test_a_run_on_some_replicas_is_refused(playbook: str, arguments: tuple[str, ...]) -> None:
    before = len(asked())
    done = play("--limit", HOSTS[0], *arguments, playbook=playbook)
    assert done.returncode != 0, done.stdout
    assert f"--limit: leaves out {HOSTS[1]}" in " ".join(done.stdout.split())
    assert all(counters["changed"] == 0 for counters in recap(done.stdout).values())
    assert asked(before) == []


def test_the_domain_of_an_instance_that_is_not_there() -> None:
    done = play("-e", "mcp_tunnel_state_host=" + HOSTS[-1], playbook="verify")
    assert done.returncode != 0, done.stdout
    assert "mcp_tunnel_domain: is not set" in " ".join(done.stdout.split())


def test_a_roll_back_does_not_bring_back_a_dead_token() -> None:
    before = stored("tunnel-token")
    broken = {"mcp_tunnel_routes": {"echo": "http://10.77.0.2:9"}, "mcp_tunnel_health_timeout": 5}
    done = play("-e", json.dumps(broken), playbook="rotate_token")
    assert done.returncode != 0, done.stdout[-3000:]
    assert "was put back to its last good" in done.stdout
    assert "mcp_tunnel_token" not in done.stdout.rsplit("was put back", 1)[1]
    assert stored("tunnel-token") != before
    token = shell(HOSTS[0]).check_output("cat /etc/mcp-tunnel/default/tunnel-token")
    assert token.strip() == stored("tunnel-token")
    assert play(*TOGETHER).returncode == 0


def test_a_new_version_waits_for_a_run_on_all_replicas() -> None:
    """Until then it is a run like any other: the replica that was put back has nothing to do."""
    rotations, before = len(tunnel()["rotations"]), len(asked())
    done = play("--limit", HOSTS[0], "-e", "mcp_tunnel_token_version=new")
    assert done.returncode == 0, done.stdout[-3000:]
    assert recap(done.stdout)[HOSTS[0]]["changed"] == 0
    assert len(tunnel()["rotations"]) == rotations
    assert [call["call"] for call in asked(before)] == NEXT_CALLS
