"""Which host is the state host never depends on the order of a group."""

from __future__ import annotations

import itertools

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.fleet.state_hosts import (
    Choice,
    choose,
)

THREE = ["a", "b", "c"]


@pytest.mark.parametrize("order", list(itertools.permutations(THREE)))
def test_no_order_changes_it(order):
    assert choose("", order, dict.fromkeys(order, "")) == Choice("a")
    assert choose("", order, dict.fromkeys(order, "b")) == Choice("b")


def test_a_new_first_name_changes_nothing():
    assert choose("", ["Aaa", *THREE], {"Aaa": "", "a": "b", "b": "b", "c": ""}) == Choice("b")


def test_another_one_that_is_named_has_to_be_looked_at():
    assert choose("c", THREE, {"a": "b", "b": "b"}) == Choice("c", former="b")
    assert choose("b", THREE, {"a": "b", "b": "b"}) == Choice("b")
    assert choose("localhost", THREE, {"a": "localhost"}) == Choice("localhost")
    assert choose("a", THREE, {"a": "localhost"}) == Choice("a", former="localhost")


@pytest.mark.parametrize("explicit", ["", "c"])
def test_one_that_the_inventory_lacks_is_refused(explicit):
    remembered = {"b": "a", "c": "a"}
    with pytest.raises(TunnelError, match=r"b, c remember a .*mcp_tunnel_forget: \[a\]"):
        choose(explicit, ["b", "c"], remembered)
    assert choose(explicit, ["b", "c"], remembered, ["a"]) == Choice(explicit or "b")


def test_replicas_that_do_not_agree():
    remembered = {"a": "a", "b": "c"}
    with pytest.raises(TunnelError, match="a remember a; b remember c"):
        choose("", THREE, remembered)
    assert choose("a", THREE, remembered) == Choice("a", former="c")


def test_no_replica_leads_a_run_to_the_controller():
    with pytest.raises(TunnelError, match=r"a remember localhost .* the variables do not name it"):
        choose("", THREE, {"a": "localhost", "b": ""})
    assert choose("", ["localhost"], {"localhost": "localhost"}) == Choice("localhost")


def test_one_replica_does_not_hinder_a_run_whose_state_host_is_named():
    """Nor is a host that it makes up asked for anything."""
    assert choose("a", THREE, {"a": "a", "b": "evil.example"}) == Choice("a")


def test_a_renamed_state_host():
    with pytest.raises(TunnelError, match="another name now, set mcp_tunnel_state_host"):
        choose("", ["new", "b"], {"new": "old", "b": "old"})
    assert choose("new", ["new", "b"], {"new": "old", "b": "old"}, ["old"]) == Choice("new")
