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


@pytest.mark.parametrize(
    "dies",
    [
        "echo 'SyntaxError: future feature annotations is not defined' >&2; exit 1",
        "echo '{\"failed\": true}'; exit 1",
    ],
)
@pytest.mark.parametrize(("version", "told"), [("3.6.8", True), ("3.8.20", True), ("3.9.2", False)])
def test_a_hosts_python_that_is_too_old_is_one_sentence(tmp_path, dies, version, told):
    """Its traceback is of our own syntax, which says nothing to an operator."""
    old = tmp_path / "python3"
    old.write_text(
        f'#!/bin/sh\ncase "$*" in *version_info*) echo Python {version}; exit;; esac\n{dies}\n'
    )
    old.chmod(0o755)
    host = {**HERE, "ansible_python_interpreter": str(old)}
    status, output = run_playbook(tmp_path, [QUESTION], {"a": host})
    assert status != 0
    sentence = f"a: its {old} is Python {version}, and 3.9 or later is needed. Install"
    assert (sentence in output) is told, output
    assert ("SyntaxError" in output) is (not told and "Syntax" in dies), output
