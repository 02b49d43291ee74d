"""Values of a kind that nobody means: a problem of that variable, and never an exception."""

from __future__ import annotations

import datetime

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import (
    plan,
    role_options,
    unknown_names,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.variables import good

ODD = [
    5,
    datetime.date(2026, 11, 29),
    [None],
    [["a"]],
    [{"a": 1}],
    {"a": [1]},
    {1: 2},
    {None: None},
]
STRUCTURES = [
    name for name, option in role_options.options().items() if option["type"] in ("list", "dict")
]


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_structure_of_something_else(name):
    for value in ODD:
        values = role_options.as_meant(good(**{name: value}))
        problems = plan.check_values(values)
        problems += unknown_names.check_names(["proxy_other"], values[unknown_names.OTHERS])
        told = {problem.subject.partition("[")[0] for problem in problems} - {"proxy_other"}
        assert told <= {name}
        if not isinstance(value, (list, dict)):
            assert told == {name}
