"""The list of replicas that the state host keeps: it comes from a host, so it may say anything."""

from __future__ import annotations

import json

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision.members import (
    Member,
    Members,
    check_domain,
    check_forgotten,
    check_machines,
    read,
)
from hypothesis import given
from hypothesis import strategies as st

A, B = "0123456789abcdef", "fedcba9876543210"
SUBJECT = "/var/lib/mcp-tunnel/default/replicas.json on host1"
NOW = "2026-11-28T12:00:00Z"
TWO = Members("x.tunnel.example", {"a": Member(A, NOW), "b": Member(B)})


def written(**changes):
    """The text of a list of two, with other values."""
    return json.dumps({**json.loads(TWO.text()), **changes})


def test_it_is_read_as_it_was_written():
    assert read(TWO.text(), SUBJECT) == TWO


def test_no_file_is_an_empty_list():
    assert read(None, SUBJECT) == Members()


def test_replicas_are_added_before_they_are_proven():
    first = Members().with_replicas({"a": A, "b": B}, "")
    assert first.by_name == {"a": Member(A), "b": Member(B)}
    proven = first.confirmed(["a"], NOW)
    assert proven.by_name == {"a": Member(A, NOW), "b": Member(B)}
    again = proven.with_replicas({"a": A}, "x.tunnel.example")
    assert again == TWO, "what was proven stays, and so does who takes no part"


def test_members_that_a_run_does_not_see():
    assert TWO.missing(["a", "c"]) == ["b"]
    assert TWO.without(["b", "c"]).by_name == {"a": Member(A, NOW)}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        ("x", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", "has no version"),
        ("{}", "has no version"),
        (written(version="1"), "has no version"),
        (written(version=True), "has no version"),
        (written(version=0), "has no version"),
        (written(domain=None), "names no domain"),
        (written(domain="x y"), "names no domain"),
        (written(replicas=[]), "has no replicas"),
        (written(replicas={f"h{n}": {"machine": A, "confirmed": ""} for n in range(501)}), "more"),
        (written(replicas={"a": 1}), "has an entry that is no replica"),
        (written(replicas={"a": {"machine": A}}), "has an entry that is no replica"),
        (written(replicas={"-e": {"machine": A, "confirmed": ""}}), "is no replica"),
        (written(replicas={"{{ x }}": {"machine": A, "confirmed": ""}}), "is no replica"),
        (written(replicas={"a\n": {"machine": A, "confirmed": ""}}), "is no replica"),
        (written(replicas={"a": {"machine": "", "confirmed": ""}}), "knows no machine of a"),
        (written(replicas={"a": {"machine": A, "confirmed": "today"}}), "has no time for a"),
    ],
)
def test_a_corrupt_list_is_refused(text, problem):
    with pytest.raises(TunnelError) as caught:
        read(text, SUBJECT)
    assert str(caught.value).startswith(f"{SUBJECT}: ")
    assert problem in str(caught.value)
    assert "Restore the file from a backup" in str(caught.value)


def test_a_list_of_a_later_version_is_refused():
    with pytest.raises(TunnelError, match=r"has version 3, .*Run the release that has written it"):
        read(written(version=3, more="x"), SUBJECT)


@given(st.text())
def test_any_other_text_is_refused(text):
    with pytest.raises(TunnelError):
        read(text, SUBJECT)


def test_the_list_of_another_tunnel_is_refused():
    with pytest.raises(TunnelError, match=r"is that of tunnel x\.tunnel\.example"):
        check_domain(TWO, "y.tunnel.example", SUBJECT)
    check_domain(TWO, "", SUBJECT)
    check_domain(TWO, "x.tunnel.example", SUBJECT)


def test_two_machines_that_claim_one_name():
    with pytest.raises(TunnelError, match=r"has b as another machine: .*mcp_tunnel_forget: \[b\]"):
        check_machines(TWO, {"a": A, "b": A, "c": A}, SUBJECT)
    check_machines(TWO, {"a": A, "b": B, "c": A}, SUBJECT)


def test_a_replica_of_the_inventory_is_not_forgotten():
    with pytest.raises(TunnelError, match="names a, a replica of this inventory"):
        check_forgotten(["a", "gone"], TWO, {"a": A, "b": A}, ["a", "b"])
    check_forgotten(["b", "gone"], TWO, {"a": A, "b": A}, ["a", "b"])
    with pytest.raises(TunnelError, match="names b, a replica of this inventory"):
        check_forgotten(["b"], TWO, {"a": A}, ["a", "b"])
