"""Ansible without pipelining, which is its default: ssh gives every module a terminal."""

from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.simulation import Simulation

TASK = {
    "mcp_tunnels.stack.public_files": {"path": "/etc/mcp-tunnel/default", "names": []},
    "register": "answer",
}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_an_answer_through_a_terminal(tmp_path, end):
    """A terminal ends lines with CR LF, before and after the answer."""
    simulation = Simulation(tmp_path)
    simulation.hosts = {"host1": {}}
    raw = f'{end}{{"changed": false, "present": true, "contents": {{}}}}{end}'
    simulation.attack("host1", "public_files", raw=raw)
    status, output = simulation.run_tasks(
        [TASK, {"ansible.builtin.assert": {"that": "answer.present"}}]
    )
    assert status == 0, output


def test_a_carriage_return_alone_is_still_shown_as_an_escape(tmp_path):
    """It would overwrite the line that it stands in."""
    simulation = Simulation(tmp_path)
    simulation.hosts = {"host1": {}}
    simulation.attack("host1", "public_files", raw="harmless\rhostile")
    status, output = simulation.run_tasks([TASK])
    assert status != 0
    assert "rhostile" in output
    assert "harmless\nhostile" not in output  # a CR is read like this here
