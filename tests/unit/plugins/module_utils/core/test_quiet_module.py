from __future__ import annotations

import json
from unittest import mock

import pytest
from ansible.module_utils import basic
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.quiet_module import QuietModule
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import modules

SECRET = "planted-secret\nof two lines"
OTHER = "planted-secret\nof two lines, and longer"
OPTIONS = {"token": {"type": "str", "no_log": True}, "key": {"type": "str", "no_log": True}}


@pytest.fixture
def module(monkeypatch):
    """A module with two secrets, of an Ansible that does not blank them itself."""
    if hasattr(basic, "remove_values"):
        monkeypatch.setattr(basic, "remove_values", lambda value, _secrets: value)
    with (
        modules.given_options({"token": SECRET, "key": OTHER, "_ansible_verbosity": 4}),
        modules.as_on_a_host(),
        mock.patch.object(QuietModule, "log"),
    ):
        yield QuietModule(OPTIONS)


def answered(capsys):
    """Return the answer of the module, which must not have a secret in it."""
    output = capsys.readouterr().out
    assert "planted" not in output
    return json.loads(output)


def test_a_result(module, capsys):
    with pytest.raises(SystemExit):
        module.exit_json(changed=True, lines=[f"a {SECRET}.", {OTHER: 1}], number=7)
    answer = answered(capsys)
    assert answer["lines"] == ["a (a secret, not shown).", {"(a secret, not shown)": 1}]
    assert (answer["changed"], answer["number"]) == (True, 7)


def test_a_failure(module, capsys):
    with pytest.raises(SystemExit):
        module.fail_json(msg=f"no such thing: {OTHER}", found=[SECRET])
    assert answered(capsys)["msg"] == "no such thing: (a secret, not shown)"


def test_a_warning(module, capsys):
    module.warn(f"odd: {SECRET}")
    with pytest.raises(SystemExit):
        module.exit_json()
    assert "odd: (a secret, not shown)" in json.dumps(answered(capsys)["warnings"])
