from __future__ import annotations

import contextlib
import json

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.action.file_set import (
    ActionModule as FileSet,
)
from ansible_collections.mcp_tunnels.stack.plugins.action.state_host import (
    ActionModule as StateHost,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers import answers


def parsed(output):
    """Return what is left of a module's output for Ansible's own parser, as JSON."""
    return json.loads(answers.without_orders("host2", "a.b.c", output))


@pytest.mark.parametrize(
    "key",
    [
        "_ansible_new_secrets",
        "_ansible_suppress_tmpdir_delete",
        "_ansible_no_log",
        "add_host",
        "add_group",
        "ansible_stats",
        "deprecations",
        "results",
    ],
)
def test_what_ansible_would_act_on_does_not_reach_it(key):
    assert parsed(json.dumps({"changed": True, key: ["e"]})) == {"changed": True}


def test_everything_else_stays_as_it_is():
    answer = {"changed": False, "facts": {"a": [1, 2.5, None, "\x1b"]}, "msg": "\u20ac"}
    assert parsed(json.dumps(answer)) == answer


@pytest.mark.parametrize("message", [{}, {"msg": ""}, {"msg": " \n"}, {"msg": ["no text"]}])
def test_a_failure_has_a_message_whatever_the_host_says(message):
    """The message tells every reader that the module has failed."""
    kept = answers.take("host2", "a.b.c", {"failed": True, **message}, {})
    assert kept == {"failed": True, "msg": "The module gave no message."}


def test_warnings_are_clean_before_ansible_shows_them():
    summary = {"__ansible_type": "WarningSummary", "event": {"msg": "\x1b[2J", "line": 7}}
    kept = parsed(json.dumps({"warnings": ["\x1b]0;owned\x07", summary] + ["x"] * 100}))["warnings"]
    assert kept[0] == "\\x1b]0;owned\\x07"
    assert kept[1]["event"] == {"msg": "\\x1b[2J", "line": 7}
    assert len(kept) < 30


@pytest.mark.parametrize("output", ["", "no JSON", "[]", '{"half', "{}}{", "{" * 100_000])
def test_output_without_an_object_is_left_to_ansible(output):
    left = answers.without_orders("host2", "a.b.c", output)
    assert left.startswith(output[:2])


def test_lines_around_the_object_stay():
    output = 'motd\n  {"changed": true, "results": []}\nbye\n'
    left = answers.without_orders("host2", "a.b.c", output)
    assert left.split("\n") == ["motd", '  {"changed": true}', "bye", ""]


def test_it_is_the_first_object_that_counts():
    """Ansible takes the first line that begins like one: a later one must not shield it."""
    left = answers.without_orders("host2", "a.b.c", '{"results": 1}\n{"changed": true}')
    assert "results" not in left


@pytest.mark.parametrize(
    "answer", [{"changed": "yes"}, {"failed": {"a": 1}}, {"failed": 0}, {"ansible_facts": ["x"]}]
)
def test_types_that_newer_versions_of_ansible_would_convert(answer):
    with pytest.raises(TunnelError, match=r"host2: its answer to a\.b\.c is not one"):
        parsed(json.dumps(answer))


def test_an_answer_that_is_nested_too_deeply_is_refused_in_words():
    """Some can be parsed but not printed again: the test tries each depth near the limit."""
    for depth in (*range(700, 1000), 100_000):
        output = f'{{"_ansible_x": 1, "deep": {"[" * depth}{"]" * depth}}}'
        left = ""
        with contextlib.suppress(TunnelError):
            left = answers.without_orders("host2", "a.b.c", output)
        assert "_ansible_x" not in left
    with pytest.raises(TunnelError, match="it is nested too deeply"):
        answers.without_orders("host2", "a.b.c", output)


def test_half_a_holder_of_a_lease_is_none():
    holder = StateHost.fields(None, {"state": "held"})["holder"]
    assert holder({}) == ""
    assert "has no 'id'" in holder({"owner": "root"})


def test_changed_paths_are_those_of_entries_and_of_users():
    asked = {"entries": [{"path": "/etc/a"}], "sysusers": {"mcp-proxy": "u mcp-proxy -"}}
    changed = FileSet.fields(None, asked)["changed_paths"]
    users = "/etc/sysusers.d"
    assert changed(["/etc/a", users, f"{users}/mcp-proxy.conf"]) == ""
    assert changed([f"{users}/other.conf"]) != ""
    without = FileSet.fields(None, {"entries": [{"path": "/etc/a"}]})["changed_paths"]
    assert without([users]) != ""
