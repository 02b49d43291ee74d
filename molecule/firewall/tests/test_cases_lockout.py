"""A strict policy cuts the controller off: the host takes it back by itself, in time."""

from __future__ import annotations

import json
from typing import Any

from replicas import CHECKOUT, HOSTS, play, recap, shell
from rules import PLAYBOOK, changes_nothing, files, load_rules, table
from test_cases_boot import rebooted

STRICT: dict[str, Any] = {"firewall_host_policy": "strict", "mcp_tunnel_batch": "100%"}
ELSEWHERE = {**STRICT, "firewall_ssh_sources": ["192.0.2.0/24"], "firewall_rollback_timeout": 20}
HERE = {**STRICT, "firewall_ssh_sources": ["10.77.0.1"], "firewall_rollback_timeout": 300}
TIMER = "mcp-tunnel-firewall-rollback-default.timer"


def states() -> dict[str, tuple[str, str]]:
    """Return the rules of every host, in the kernel and on disk."""
    return {name: (table(shell(name)), files(shell(name))) for name in HOSTS}


def test_it_is_taken_back_and_the_run_says_why() -> None:
    before = states()
    done = play("--extra-vars", json.dumps(ELSEWHERE), playbook=PLAYBOOK)
    assert done.returncode != 0, done.stdout
    said = " ".join(done.stdout.split())
    for name in HOSTS:
        assert f"with the new rules, {name} could not be reached anew" in said
        assert recap(done.stdout)[name]["failed"] == 1
    assert said.count("the rules of before are in force") >= len(HOSTS)
    assert "firewall_ssh_sources" in said
    assert states() == before
    changes_nothing(load_rules())


def test_a_reboot_in_between_brings_the_old_rules(name: str) -> None:
    """The controller is gone, too, so nobody confirms anything."""
    before = (table(shell(name)), files(shell(name)))
    killed = play(
        *("--limit", name, "--extra-vars", json.dumps(HERE)),
        playbook=PLAYBOOK,
        settings={
            "ANSIBLE_CALLBACK_PLUGINS": str(CHECKOUT / "molecule/shared/callback_plugins"),
            "ANSIBLE_CALLBACKS_ENABLED": "kill_after_change",
        },
    )
    assert "KILLED after: mcp_tunnels.stack.firewall : Load the rules" in killed.stdout
    host = shell(name)
    assert "host_input" in table(host)
    assert host.check_output(f"systemctl is-active {TIMER}") == "active"
    assert files(host) == before[1]

    host = rebooted(name)
    assert (table(host), files(host)) == before
    assert host.run(f"systemctl is-active {TIMER}").stdout.strip() == "inactive"
    assert load_rules("--limit", name)[name]["changed"] == 0
