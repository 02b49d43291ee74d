"""The interpreter of our modules when the command line names another one."""

from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.playbook import run_playbook

HERE = {"ansible_connection": "local"}
QUESTION = {"mcp_tunnels.stack.public_files": {"path": "/etc", "names": ["hostname"]}}
OWN = {"vars": {"ansible_python_interpreter": "{{ ansible_playbook_python }}"}}


@pytest.mark.parametrize("delegation", [{}, {"delegate_to": "b"}])
def test_the_tasks_own_interpreter_outranks_the_command_lines(tmp_path, delegation):
    """A task names one only where the module needs the libraries of that interpreter."""
    tasks = [{**QUESTION, **OWN, **delegation}]
    arguments = ("-e", "ansible_python_interpreter=/nonexistent/python", "--limit", "a")
    status, output = run_playbook(tmp_path, tasks, {"a": HERE, "b": HERE}, *arguments)
    assert status == 0, output
    status, output = run_playbook(
        tmp_path, [{**QUESTION, **delegation}], {"a": HERE, "b": HERE}, *arguments
    )
    assert status != 0
    assert "/nonexistent/python" in output
