"""The names of hosts that were broken into, beside the inventory: nothing is connected to."""

from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.fleet import breached

GROUP = {
    name: {"mcp_tunnel_instance": instance, "mcp_tunnel_breached": []}
    for name, instance in {"a1": "a", "a2": "a", "a3": "a", "b1": "b", "b2": "b"}.items()
}
# a3 and b2 are instances of one machine.
MACHINES = {name: (name.replace("b2", "a3"), "22") for name in GROUP}


def problems(names, duty="breach", taking_part=tuple(GROUP)):
    """Return the problems as texts."""
    return [str(each) for each in breached.check(GROUP, MACHINES, names, taking_part, duty)]


def test_names_that_fit():
    assert problems(["a1"]) == []
    assert problems(["a1", "a2", "b1"]) == []
    assert problems([], duty="deploy") == []


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "does not say which host was broken into"),
        (["c1", 5], "names 'c1', '5', no replica"),
        (["b1", "b2", "a3"], "names every replica of instance 'b'"),
        (["a3"], "names a3, and b2 is on the same machine"),
    ],
)
def test_names_that_are_refused(names, said):
    (problem,) = problems(names)
    assert problem.startswith("mcp_tunnel_breached: ")
    assert said in problem


def test_a_limit_is_refused_for_tunnels_that_are_concerned():
    (problem,) = problems(["a1"], taking_part=["a1", "a2"])
    assert problem.startswith("--limit: leaves out a3, ")
    assert problems(["b1"], taking_part=["b1", "b2"]) == []


def test_other_duties_go_by_no_names():
    (problem,) = problems(["a1"], duty="deploy")
    assert "is for breach, and deploy does not go by it" in problem


def test_who_goes_on():
    assert breached.surviving(GROUP, ["a1"]) == ["a2", "a3"]
    assert breached.surviving(GROUP, ["a3", "b2"]) == ["a1", "a2", "b1"]
    assert breached.without(GROUP, {breached.GROUP: ["a1"]}) == ["a2", "a3", "b1", "b2"]
    assert breached.without(GROUP, {}) == list(GROUP)


def test_each_host_may_name_them():
    group = {**GROUP, "a2": {**GROUP["a2"], "mcp_tunnel_breached": ["a1", "a1"]}}
    assert breached.named(group, ["a1", "a2", "x"]) == ["a1"]
    group["a2"]["mcp_tunnel_breached"] = "a1"
    assert breached.named(group, list(group)) == []
