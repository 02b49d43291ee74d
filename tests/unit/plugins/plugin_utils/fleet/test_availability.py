"""Which replicas may leave the edge at the same time, and the waves of a reboot."""

from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.fleet import availability, reboots
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.fleet.availability import Standing

WORKS, BROKEN, UNSEEN = Standing(True), Standing(False), Standing()
DRAINED = Standing(True, True)
LOST = Standing(lost=True)


def tunnel(*standings):
    return {f"r{number}": each for number, each in enumerate(standings, 1)}


@pytest.mark.parametrize(
    ("named", "drained", "found"),
    [
        ([], [], ["r1"]),
        ([], ["r1"], ["r2"]),
        (["r2"], ["r1"], ["r2"]),
        # The others are watched in the place of a named one that serves nobody.
        (["r2"], ["r2"], ["r1"]),
        (["r2", "r3"], ["r2"], ["r3"]),
        # None can be watched.
        ([], ["r1", "r2", "r3"], ["r1"]),
    ],
)
def test_a_canary_serves(named, drained, found):
    values = {"mcp_tunnel_canary": named, "mcp_tunnel_soak": "10m", "mcp_tunnel_batch": 1}
    names = ["r1", "r2", "r3"]
    group = {name: {"mcp_tunnel_instance": "default", **values} for name in names}
    assert availability.canaries(group, names, drained) == found
    ((_names, _batch, canaries),) = availability.roll_out(group, names, drained)
    assert canaries == found


@pytest.mark.parametrize(
    ("standings", "away", "least"),
    [
        ([WORKS, WORKS], ["r2"], 1),
        ([WORKS, WORKS, WORKS], ["r2", "r3"], 1),
        ([WORKS, WORKS, WORKS], ["r3"], "50%"),
        ([WORKS, BROKEN], ["r2"], 1),
        # Nothing leaves that is not away already.
        ([DRAINED], ["r1"], 1),
        ([BROKEN, DRAINED], ["r2"], 1),
        ([UNSEEN, WORKS, WORKS], ["r3"], 1),
    ],
)
def test_enough_stay(standings, away, least):
    assert availability.too_few(tunnel(*standings), away, least) is None


@pytest.mark.parametrize(
    ("standings", "away", "least", "told", "remedy"),
    [
        ([WORKS], ["r1"], 1, "0 of 1 replicas", "Deploy one more replica, or set mcp_tunnel_min_"),
        ([WORKS, WORKS], ["r1", "r2"], 1, "0 of 2 replicas", "Drain fewer at a time"),
        ([WORKS, BROKEN], ["r1"], 1, "(r2 does not work)", "Bring the others back first"),
        ([WORKS, DRAINED], ["r1"], 1, "(r2 is drained)", "Bring the others back first"),
        (
            [WORKS, Standing(None, True)], ["r1"], 1, "(r2 is drained)",
            "Bring the others back first",
        ),
        (
            [WORKS, UNSEEN], ["r1"], 1, "(r2 was not looked at in this run)",
            "Run on all replicas, without --limit, with those to drain in mcp_tunnel_drain",
        ),
        ([WORKS, LOST], ["r1"], 1, "(r2 could not be looked at)", "Mend r2 first, see above"),
        ([WORKS, WORKS, WORKS], ["r1", "r2"], "50%", "1 of 3 replicas", "Drain fewer"),
        ([BROKEN, BROKEN], ["r1"], 1, "0 of 2 replicas", "Bring the others back first"),
    ],
)  # fmt: skip
def test_too_few_would_stay(standings, away, least, told, remedy):
    problem = availability.too_few(tunnel(*standings), away, least)
    assert problem.subject == ", ".join(away)
    assert told in problem.problem
    assert f"mcp_tunnel_min_available is {least}" in problem.problem
    assert problem.remedy.startswith(remedy)
    assert problem.remedy.endswith("or set mcp_tunnel_drain_last: true for one run")


@pytest.mark.parametrize(
    ("standings", "away", "remedy"),
    [
        # Not with names, which a reboot refuses.
        ([WORKS, UNSEEN], ["r1"], "Run on r2 as well: one is rebooted after the other, or set"),
        ([WORKS, LOST], ["r1"], "Mend r2 first, see above, or set"),
        ([WORKS, WORKS], ["r1", "r2"], "Set mcp_tunnel_batch to less, or set"),
    ],
)
def test_too_few_would_stay_during_a_reboot(standings, away, remedy):
    problem = availability.too_few(tunnel(*standings), away, 1, reboot=True)
    assert problem.remedy == f"{remedy} mcp_tunnel_drain_last: true for one run"


GROUP = {
    name: {"mcp_tunnel_drain": [], "mcp_tunnel_instance": "default", "mcp_tunnel_batch": 1}
    for name in ("r1", "r2", "r3")
}


def naming(*names):
    return {name: {**values, "mcp_tunnel_drain": list(names)} for name, values in GROUP.items()}


def test_those_to_drain_are_named():
    assert availability.leaving(naming("r2"), list(GROUP), "drain") == (["r2"], [])


def test_without_names_they_are_those_of_the_limit():
    assert availability.leaving(GROUP, ["r2"], "drain") == (["r2"], [])


@pytest.mark.parametrize(
    ("duty", "remedy"),
    [
        ("undrain", "Leave it out, and use --limit."),
        (
            # A run that does not see the others is refused.
            "reboot",
            "Leave it out. reboot takes one replica after the other; with mcp_tunnel_reboot_when: "
            "needed, those whose updates wait for it.",
        ),
    ],
)
def test_names_that_a_run_does_not_go_by(duty, remedy):
    (found,) = availability.leaving(naming("r2"), list(GROUP), duty)[1]
    assert str(found) == f"mcp_tunnel_drain: is for drain, and {duty} does not go by it. {remedy}"
    assert availability.leaving(GROUP, list(GROUP), duty) == ([], [])
    assert availability.leaving(naming("r2"), list(GROUP), "deploy") == ([], [])


@pytest.mark.parametrize(
    ("group", "taking_part", "problem"),
    [
        (GROUP, list(GROUP), "does not say which replicas are to be drained"),
        (naming("r9"), list(GROUP), "names 'r9', which is no replica"),
        (naming("r2", 7), list(GROUP), "names '...', which is no replica"),
        (naming("r1"), ["r2"], "names 'r1', which takes no part in this run"),
    ],
)
def test_names_that_are_none(group, taking_part, problem):
    _leaving, (found,) = availability.leaving(group, taking_part, "drain")
    assert found.problem == problem


def test_a_text_in_place_of_names_is_for_another_rule():
    group = {name: {**values, "mcp_tunnel_drain": "r2"} for name, values in GROUP.items()}
    assert availability.leaving(group, ["r2"], "drain") == (["r2"], [])


@pytest.mark.parametrize(
    ("batch", "drained", "room"), [(1, [], 1), (2, [], 2), (2, ["r3"], 1), (1, ["r3"], 1)]
)
def test_a_drained_replica_counts_as_away(batch, drained, room):
    group = {name: {**values, "mcp_tunnel_batch": batch} for name, values in GROUP.items()}
    assert list(availability.tunnels(group, list(GROUP), drained)) == [(list(GROUP), room)]


def test_machines_with_several_instances_are_rebooted_once():
    """Machines a and b have replicas of both tunnels, listed in another order."""
    marks = {"a1": "a", "b1": "b", "c1": "c", "b2": "b", "a2": "a"}
    machines = reboots.by_machine(marks)
    assert machines == [["a1", "a2"], ["b1", "b2"], ["c1"]]
    tunnels = [(["a1", "b1", "c1"], 1), (["b2", "a2"], 1)]
    assert reboots.make_waves(machines, tunnels) == [["a1", "a2"], ["b1", "b2"], ["c1"]]


def test_tunnels_side_by_side():
    machines = [["a1"], ["a2"], ["b1"], ["b2"]]
    tunnels = [(["a1", "a2"], 1), (["b1", "b2"], 1)]
    assert reboots.make_waves(machines, tunnels) == [["a1", "b1"], ["a2", "b2"]]


def test_as_many_at_once_as_the_batch_allows():
    machines = [["r1"], ["r2"], ["r3"]]
    assert reboots.make_waves(machines, [(["r1", "r2", "r3"], 2)]) == [["r1", "r2"], ["r3"]]
