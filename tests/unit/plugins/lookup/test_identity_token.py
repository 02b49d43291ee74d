from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.jwts import (
    SIGNATURE,
    make_jwt,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.playbook import run_playbook

TOKEN = make_jwt()
HOSTS = {"replica1": {}}


def looked_up(*words):
    return "lookup('mcp_tunnels.stack.identity_token', " + ", ".join(words) + ")"


def test_a_token_is_fetched(tmp_path):
    (tmp_path / "token").write_text(TOKEN + "\n")
    path = f"'{tmp_path}/token'"
    file = looked_up("identity_source='file'", f"identity_file={path}")
    command = looked_up("identity_source='command'", f"identity_command=['cat', {path}]")
    wanted = f"lookup('ansible.builtin.file', {path})"
    checks = [f"{lookup} == {wanted}" for lookup in (file, command)]
    tasks = [{"ansible.builtin.assert": {"that": checks, "quiet": True}}]
    status, output = run_playbook(tmp_path, tasks, HOSTS)
    assert status == 0, output
    assert SIGNATURE not in output


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["identity_source=none"], "identity_token: identity_source: is missing"),
        (["identity_source='file'"], "identity_source: file needs identity_file"),
        (["identity_source='oracle'"], "oracle"),
        (["'gcp'"], "takes no terms, but 1 were given"),
        (
            ["identity_source='literal'", "identity_literal=token ~ '.x'"],
            "identity token (identity_source=literal): is not a JWT",
        ),
    ],
)
def test_what_is_wrong_is_said(tmp_path, words, problem):
    (tmp_path / "token").write_text(TOKEN)
    tasks = [
        {
            "ansible.builtin.assert": {"that": [f"{looked_up(*words)} == 'x'"]},
            "vars": {"token": f"{{{{ lookup('ansible.builtin.file', '{tmp_path}/token') }}}}"},
        }
    ]
    status, output = run_playbook(tmp_path, tasks, HOSTS)
    assert status != 0
    assert problem in output
    assert "Traceback" not in output
    assert SIGNATURE not in output
