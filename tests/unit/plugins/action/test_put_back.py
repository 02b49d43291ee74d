"""The last message about a failed roll-out, whatever the failure has said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.playbook import run_playbook

_TASKS = Path(__file__).resolve().parents[4] / "playbooks/tasks/stop_tunnel.yml"
_STATE = {
    "mcp_tunnel_plan": {"duty": "deploy"},
    "__mcp_tunnel_told": ["The replica was put back."],
}


def refuse(*problems: str) -> dict[str, Any]:
    return {"mcp_tunnels.stack.refuse": {"headline": "It failed", "problems": list(problems)}}


def fail(message: Any) -> dict[str, Any]:
    return {"ansible.builtin.fail": {"msg": message}}


def test_the_end_is_told_whatever_the_failure_has_said(tmp_path):
    cases = {
        "text": (fail("It broke\nin two"), "Why: It broke"),
        "list": (fail(["It broke", "again"]), "Why: It broke"),
        "empty": (fail(""), "Why: It gave no message."),
        "problems": (refuse("It broke\nin two"), "Why: It broke"),
        "nothing": (refuse(), "Why: It failed. See problems."),
    }
    ends = yaml.safe_load(_TASKS.read_text(encoding="utf-8"))[-1:]
    tasks = [
        {
            "block": [{**task, "name": "Try"}],
            "rescue": ends,
            "when": f"inventory_hostname == '{name}'",
            "vars": _STATE,
        }
        for name, (task, _why) in cases.items()
    ]
    for task in tasks:
        task["rescue"] = [{**ends[0], "ignore_errors": True}]
    _status, output = run_playbook(tmp_path, tasks, {name: {} for name in cases})
    for name, (_task, why) in cases.items():
        (told,) = [
            part
            for part in output.split("fatal: ")
            if part.startswith(f"[{name}]") and "put back" in part
        ]
        assert f'"{why}"' in told, output
