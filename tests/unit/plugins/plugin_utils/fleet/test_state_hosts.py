"""Which host is the state host never depends on the order of a group."""

from __future__ import annotations

import itertools
import json

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.mcp_tunnels.stack.plugins.filter.with_state_host import with_state_host
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


def test_one_that_was_installed_anew_stays_the_state_host():
    """It is forgotten as the machine that it was."""
    remembered = {"a": "c", "b": "c", "c": ""}
    assert choose("", THREE, remembered, ["c"]) == Choice("c")
    assert choose("", THREE, {**remembered, "b": "b"}, ["c"]) == Choice("b")
    assert choose("b", THREE, remembered, ["c"]) == Choice("b")


PLAN = {
    "replicas": THREE,
    "state_host": "a",
    "leader": "a",
    "config_dir": "/etc/mcp-tunnel/default",
}


def remembering(**state_hosts):
    """The files that were read on each host: none where it remembers nothing."""
    return {
        host: {"members.json": json.dumps({"state_host": name})} if name else {}
        for host, name in state_hosts.items()
    }


def test_a_plan_goes_by_what_all_replicas_remember():
    assert with_state_host(PLAN, remembering(a="", b="c", c="c"))["state_host"] == "c"
    assert with_state_host(PLAN, remembering(a="", b=""))["state_host"] == "a"
    assert with_state_host(PLAN, remembering(a="gone", b="b"), ["gone"])["state_host"] == "b"
    moved = with_state_host(PLAN, remembering(a="b", b="b"), explicit="a", breached=["gone"])
    assert (moved["state_host"], moved["former"]) == ("a", "b")
    # One that was broken into is not looked at.
    lost = with_state_host(PLAN, remembering(a="gone"), explicit="a", breached=["gone"])
    assert (lost["state_host"], lost["former"]) == ("a", "")
    # A leader that could not be asked would do nothing for the others.
    assert with_state_host(PLAN, remembering(a="", b=""))["leader"] == "a"
    assert with_state_host(PLAN, remembering(c="", b=""))["leader"] == "b"
    assert with_state_host(PLAN, remembering(c="c"))["leader"] == "c"
    with pytest.raises(AnsibleFilterError, match="a remember a; b remember b"):
        with_state_host(PLAN, remembering(a="a", b="b"))
    with pytest.raises(AnsibleFilterError, match=r"members\.json on b: cannot be read"):
        with_state_host(PLAN, {"b": {"members.json": "{"}})
