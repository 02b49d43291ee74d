"""The names of hosts that were broken into, beside the inventory: nothing is connected to."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.mcp_tunnels.stack.plugins.filter.broken_into import broken_into
from ansible_collections.mcp_tunnels.stack.plugins.filter.with_state_host import with_state_host
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.fleet import breached

GROUP = {
    name: {
        "mcp_tunnel_instance": instance,
        "mcp_tunnel_breached": [],
        "mcp_tunnel_state_host": "a2" if instance == "a" else "",
    }
    for name, instance in {"a1": "a", "a2": "a", "a3": "a", "b1": "b", "b2": "b"}.items()
}
# a3 and b2 are instances of one machine.
MACHINES = {name: (name.replace("b2", "a3"), "22") for name in GROUP}


def problems(names, duty="breach", taking_part=tuple(GROUP)):
    """Return the problems as texts."""
    return [str(each) for each in breached.check(GROUP, MACHINES, names, taking_part, duty)]


def test_names_that_fit():
    assert problems(["a1"]) == []
    assert problems(["a1", "b1"]) == []
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


def test_the_state_host_of_the_variables_cannot_be_one_of_them():
    (problem,) = problems(["a2"])
    assert problem.startswith("mcp_tunnel_state_host: is a2, which mcp_tunnel_breached names")


OLD, NEW = "0123456789abcdef", "1111111111111111"
MARK = {"name": "a3", "machine": OLD, "since": "2026-11-29T20:00:00Z", "evidence": ""}


def memory(now=OLD, **mark):
    """Return the memory of a1, which has a mark of a3, and of a3, which is this machine now."""
    a1 = {"replicas": ["a1", "a2"], "breached": [{**MARK, **mark}]}
    remembered = {"a1": a1, "a3": {"replicas": [], "breached": []}}
    return breached.Memory(remembered, {"a1": "a" * 16, "a3": now})


@pytest.mark.parametrize(
    "known",
    [memory(), memory(NEW, machine=""), memory("d96ddd9f503d262b"), memory(name="former")],
    ids=["same", "unknown", "empty machine-id", "renamed"],
)
def test_a_host_that_a_replica_remembers_as_broken_into_is_refused(known):
    with pytest.raises(
        TunnelError, match=r"^members.json on a1: a3( \(as former\))? was taken out"
    ):
        known.check(["a1", "a3"], "a1")
    with pytest.raises(TunnelError, match="a3"):
        known.check(["a1", "a3"], "a1", ["a3", "former"])
    known.check(["a1"], "a1")
    assert known.kept("a1", ["a3"])
    assert known.back(["a3"]) == []


def test_a_state_host_that_takes_no_part_is_refused_too():
    known = breached.Memory({"a1": {"replicas": [], "breached": [MARK]}}, {"a1": "a" * 16})
    with pytest.raises(TunnelError, match=r"^members.json on a1: a3 .*is no state host"):
        known.check(["a1"], "a3")


@pytest.mark.parametrize("forget", [[], ["a3"]])
def test_another_machine_does_not_make_a_marked_host_the_state_host(forget):
    """A thief who is root there changes /etc/machine-id, or has it say any other."""
    with pytest.raises(TunnelError, match=r"^members.json on a1: a3 .*is no state host"):
        memory(NEW).check(["a1", "a3"], "a3", forget)
    assert breached.remembered_as("a3", NEW, memory(NEW).remembered)


def test_a_state_host_that_was_renamed_is_refused_too():
    with pytest.raises(TunnelError, match=r"a3 \(as former\) was taken out"):
        memory(name="former").check(["a1"], "a3", ["former"])


def test_a_clone_of_the_machine_is_not_the_host():
    remembered = {"a1": {"replicas": ["a1", "a2"], "breached": [MARK]}}
    breached.Memory(remembered, {"a1": OLD, "a2": OLD}).check(["a1", "a2"], "a1")


def test_of_another_machine_that_is_named_the_state_host_decides():
    """Where it has lost its marks, the name alone would bring back a host that was broken into."""
    known = memory(NEW)
    with pytest.raises(TunnelError, match=r"mcp_tunnel_forget: \[a3\] for one run"):
        known.check(["a1", "a3"], "a1")
    assert known.kept("a1")
    known.check(["a1", "a3"], "a1", ["a3"])
    assert (known.kept("a1", ["a3"]), known.back(["a3"])) == ([], ["a3"])


def test_a_canary_that_is_taken_out_is_none():
    values = {"mcp_tunnel_canary": ["a3", "a1"]}
    gone = {breached.GROUP: ["a3"]}
    assert breached.without_canaries(values, gone) == {"mcp_tunnel_canary": ["a1"]}
    assert breached.without_canaries(values, {}) == values
    assert breached.without_canaries({"mcp_tunnel_canary": 5}, gone) == {"mcp_tunnel_canary": 5}


@pytest.mark.parametrize(
    ("claims", "names"),
    [({"a2": "a1"}, ["a3"]), ({"a3": "a1"}, ["a3"]), ({"a1": "a1"}, ["a1"]), ({}, ["a1"])],
)
def test_a_replica_that_cannot_be_asked_is_not_needed(claims, names):
    """Another one has said which host is the state host, or that one is alone in the run."""
    known = {name: {"state_host": claims.get(name, "")} for name in {*claims, *names}}
    breached.Memory(known, {}).check_heard(names, "a1", ["a4"])


@pytest.mark.parametrize("claims", [{"a1": "a1"}, {"a3": ""}])
def test_nobody_has_heard_of_the_state_host(claims):
    memory = breached.Memory({name: {"state_host": claims[name]} for name in claims}, {})
    memory.check_heard(["a3"], "a1", [])
    with pytest.raises(TunnelError, match=r"^a2, a4: could not be asked whether a1,"):
        memory.check_heard(["a1", "a3"], "a1", ["a2", "a4"])


@pytest.mark.parametrize("text", ["{", '{"breached": [1]}', "[]"])
def test_a_memory_that_cannot_be_read(text):
    """site.yml refuses it as well, so it is no way out before the file is gone."""
    remembered = {"a1": {"members.json": text}}
    with pytest.raises(AnsibleFilterError, match=r"members.json on a1: .* remove that file; the"):
        broken_into("a2", remembered)
    plan = {"config_dir": "/etc/x", "replicas": ["a1"], "leader": "a1"}
    with pytest.raises(AnsibleFilterError, match=r"members.json on a1: .* remove that file; the"):
        with_state_host(plan, remembered)


def mark(name, machine=OLD, **changes):
    """Return a mark of this host."""
    return {**MARK, "name": name, "machine": machine, **changes}


def test_a_replica_keeps_what_it_knows_of_a_machine_and_learns_the_rest():
    own = [mark("known"), mark("unsure", "")]
    told = [mark("unsure", NEW), mark("known", NEW), mark("new"), mark("a1")]
    assert breached.to_remember(own, told, ["a1", "a2"], []) == [
        mark("known"),
        mark("new"),
        mark("unsure", NEW),
    ]
    assert breached.to_remember(own, [], ["a1"], []) == own
    assert breached.to_remember([], [], [], []) == []


def test_the_mark_of_this_run_and_its_own_have_room_beside_invented_ones():
    invented = [mark(f"x{number:03}") for number in range(500)]
    own = [mark("own"), mark("unsure", "")]
    kept = breached.to_remember(own, [*invented, mark("a3")], ["a1"], ["a3"])
    assert kept == [mark("a3"), *own, *invented[: 500 - breached.ROOM - 2]]
    full = [mark("unsure", ""), *invented[:499]]
    kept = breached.to_remember(full, [mark("a3")], ["a1"], ["a3"])
    assert kept == [mark("a3"), *invented[:499]], "a machine that is known counts for more"
