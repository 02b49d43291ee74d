"""The tables of verify.yml, one row a line, in both formats of results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.playbook import run_playbook

_VERIFY = Path(__file__).resolve().parents[4] / "playbooks/plays/verify.yml"
# YAML breaks a line at single blanks when it is longer than 80 columns.
TABLE = [
    "firewall                 state  detail",
    "accounts of the rules    ok     have the numbers that the kernel knows, and are: 'ok'",
    "mcp-proxy  refused  0    100.100.100.200, 168.63.129.16, 169.254.169.254 and more # x",
]


def task(is_job: bool) -> dict[str, Any]:
    """Return the task of the playbook that shows them."""
    play = yaml.safe_load(_VERIFY.read_text(encoding="utf-8"))[0]
    tasks = [each for task in play["tasks"] for each in task.get("block", [task])]
    (found,) = [task for task in tasks if task["name"] == "Show the tables"]
    found.setdefault("vars", {})["__mcp_tunnel_health"] = {"table": TABLE}
    found["vars"]["__mcp_tunnel_group"] = {"is_job": is_job}
    return dict(found)


@pytest.mark.parametrize(
    ("kind", "is_job", "rows"),
    [
        ("yaml", False, TABLE),
        ("json", False, [json.dumps(row) for row in TABLE]),
        ("json", True, [json.dumps(row) for row in TABLE]),
        # A list, of which AWX keeps one item a row, whatever its output looks like.
        ("yaml", True, [f"- {TABLE[0]}"]),
    ],
)
def test_a_row_is_a_line(tmp_path, monkeypatch, kind, is_job, rows):
    monkeypatch.setenv("ANSIBLE_CALLBACK_RESULT_FORMAT", kind)
    status, output = run_playbook(tmp_path, [task(is_job)], {"host1": {}})
    assert status == 0, output
    lines = [line.strip().rstrip(",") for line in output.splitlines()]
    assert [line for line in lines if line in rows] == rows
