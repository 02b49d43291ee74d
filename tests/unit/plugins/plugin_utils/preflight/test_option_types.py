"""Wrong types and choices, in words that an operator can act on."""

from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight.option_types import (
    type_problem,
)

TEXTS = {"type": "list", "elements": "str"}
LEVELS = {"type": "str", "choices": ["info", "warn"]}


@pytest.mark.parametrize(
    ("value", "option", "message"),
    [
        ("maybe", {"type": "bool"}, "x: must be true or false, is 'maybe'. Write true or false"),
        (2, {"type": "bool"}, "x: must be true or false, is 2."),
        ("many", {"type": "int"}, "x: must be a whole number, is 'many'."),
        ([1], {"type": "int"}, "x: must be a whole number, is a list of 1."),
        ("loud", LEVELS, "x: is 'loud'. Use one of info, warn."),
        (["info"], LEVELS, "x: must be a text, is a list of 1."),
        ("a", {"type": "dict"}, "x: must be a map, is 'a'. Write below it"),
        ({"a": 1}, {"type": "list"}, "x: must be a list, is a map of 1. Write it like [a, b]"),
        (5, {"type": "list"}, "x: must be a list, is 5."),
        (5, {"type": "dict"}, "x: must be a map, is 5."),
        (["a"], {"type": "list", "elements": "int"}, "x: has an item that is not a whole number."),
        # Of a text such as [010], which is 8 in YAML, nobody can tell what it was.
        ([8], TEXTS, "x: has an item that is not a text. Put that item in quotes."),
        (["a", True], TEXTS, "x: has an item that is not a text. Put that item in quotes."),
        ([None], TEXTS, "x: has an item that is not a text. Put that item in quotes."),
        ([["a"]], TEXTS, "x: has an item that is not a text. Correct that item."),
        ([{"a": 1}], TEXTS, "x: has an item that is not a text. Correct that item."),
        (["a=1"], {"type": "list", "elements": "dict"}, "x: has an item that is not a map."),
        (None, {"type": "str"}, "x: is set to nothing (null). Leave it out for its default."),
        ("a" * 200, {"type": "bool"}, "x: must be true or false, is a text of 200 characters."),
    ],
)
def test_a_wrong_value(value, option, message):
    text = str(type_problem("x", value, option))
    assert text.startswith(message)
    assert "convert" not in text


def test_a_secret_is_not_repeated():
    problem = type_problem("x", "hunter2", {"type": "dict", "no_log": True})
    assert str(problem).startswith("x: must be a map, is a text of 7 characters.")


@pytest.mark.parametrize(
    ("value", "option"),
    [("yes", {"type": "bool"}), ("7", {"type": "int"}), (7, {"type": "str"}), ("info", LEVELS)],
)
def test_what_ansible_accepts(value, option):
    assert type_problem("x", value, option) is None
