"""Which tunnels may not be rebooted, and which go on: the conclusion from what hosts have said."""

from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.action import availability
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import role_options

DEFAULTS = role_options.defaults()


class Fleet:
    """Replicas by their names, like a1: the tunnel, and the number of its machine."""

    def __init__(self, *names):
        self.names = names
        self.health = {name: {"healthy": True, "drained": ""} for name in names}
        self.in_service = {}
        self.gone = []
        self.left_out = []

    def conclude(self):
        """Return the hosts that are rebooted, and the problems of each tunnel that is not."""
        taking_part = [name for name in self.names if name not in self.left_out]
        here = [name for name in taking_part if name not in self.gone]
        hostvars = {name: self._variables(name, here) for name in self.names}
        task_vars = {
            "groups": {"mcp_tunnel": list(self.names)},
            "ansible_play_hosts": here,
            "ansible_play_hosts_all": taking_part,
            "hostvars": hostvars,
        }
        run = availability._Run(task_vars, "mcp_tunnel", True)
        waves, stopped = availability._conclude(run, True, [])
        return [name for wave in waves for name in wave], stopped

    def _variables(self, name, here):
        on_it = [other[0] for other in here if other[1:] == name[1:]]
        boot = {"machine": name[1:].rjust(16, "0"), "needed": False, "interrupted": False}
        found = {
            "ansible_host": f"10.0.0.{name[1:]}",
            "__mcp_tunnel_settings": {"variables": {**DEFAULTS, "mcp_tunnel_instance": name[0]}},
            "mcp_tunnel_plan": {"switches": {"mcp_tunnel_drain_last": False}},
            "__mcp_tunnel_health": self.health[name],
            "__mcp_tunnel_boot": {**boot, "in_service": self.in_service.get(name, on_it)},
        }
        # The first of a tunnel holds it for the others, also if it has failed afterwards.
        tunnel = [other for other in self.names if other[0] == name[0]]
        if name == next((other for other in tunnel if other not in self.left_out), ""):
            found["__provision_held"] = {"holder": {}}
        if name in self.gone:
            found["__mcp_tunnel_boot"] = {"failed": True}
        return found


def test_without_problems():
    assert Fleet("a1", "a2", "b1", "b2").conclude() == (["a1", "b1", "a2", "b2"], {})


def test_a_replica_that_failed_in_the_look_stops_its_tunnel_alone():
    """Of a, two are left: enough for mcp_tunnel_min_available."""
    fleet = Fleet("a1", "a2", "a3", "b4", "b5")
    fleet.gone = ["a3"]
    order, stopped = fleet.conclude()
    assert order == ["b4", "b5"]
    (problem,) = stopped.pop("a")
    assert problem.startswith("a3: has failed, or could not be reached")
    assert stopped == {}


def test_a_tunnel_of_which_nobody_is_left_needs_no_further_problem():
    fleet = Fleet("a1", "b2", "b3")
    fleet.gone = ["a1"]
    assert fleet.conclude() == (["b2", "b3"], {})


def remedies(*names, gone=(), left_out=()):
    """Return the last sentence of each reason for which tunnel a is not rebooted."""
    fleet = Fleet(*names)
    fleet.gone, fleet.left_out = gone, left_out
    _order, stopped = fleet.conclude()
    return [problem.rpartition(". ")[2] for problem in stopped.get("a", [])]


def test_no_remedy_leads_to_a_refusal_that_leads_back():
    """A lost replica is left out with --limit only where the run goes on without it."""
    last = ", or set mcp_tunnel_drain_last: true for one run."
    assert remedies("a1", "a2", gone=["a1"]) == [
        f"Mend a1 first, see above{last}",
        "Mend it, and run again.",
    ]
    assert remedies("a1", "a2", left_out=["a1"]) == [
        f"Run on a1 as well: one is rebooted after the other{last}"
    ]
    assert remedies("a1", "a2", "a3", gone=["a1"]) == [
        "Mend it, or leave it out with --limit, and run again."
    ]
    assert remedies("a1", "a2", "a3", left_out=["a1"]) == []


def test_no_remedy_leaves_a_machine_out_that_the_tunnel_needs():
    assert remedies("a1", "a2", "b1", left_out=["b1"]) == ["Run on both."]
    assert remedies("a1", "a2", "a3", "b1", left_out=["b1"]) == ["Run on both, or on neither."]
    # Of b, no other replica would stay.
    (beside,) = remedies("a1", "a2", "b1")
    assert beside == "Mend that, and run again."
    (beside,) = remedies("a1", "a2", "a3", "b1")
    assert beside == "Mend that, or leave both out with --limit, and run again."


def test_an_instance_of_another_inventory_stops_those_of_its_machine():
    fleet = Fleet("a1", "a2", "b3", "b4")
    fleet.in_service["a2"] = ["a", "elsewhere"]
    order, stopped = fleet.conclude()
    assert order == ["b3", "b4"]
    assert [*stopped] == ["a"]
    assert stopped["a"] == [
        "a2: also has instance elsewhere, which takes no part in this run and would be cut off. "
        "Run with an inventory that has both. Or drain that instance before, by drain.yml with "
        "its own inventory; tear it down (teardown.yml) if nobody uses it."
    ]


def test_a_machine_says_the_same_of_an_instance_that_is_drained_and_is_rebooted():
    fleet = Fleet("a1", "a2", "b1", "b2")
    fleet.in_service["a1"] = fleet.in_service["b1"] = ["a"]
    assert fleet.conclude()[1] == {}


@pytest.mark.parametrize("others", [("b1", "b2"), ("b1", "b2", "c2", "c3")])
def test_a_tunnel_that_stops_keeps_its_machines_and_those_of_their_tunnels(others):
    fleet = Fleet("a1", "a4", *others, "d5", "d6")
    fleet.health["a4"]["drained"] = "drained since yesterday"
    order, stopped = fleet.conclude()
    assert order == ["d5", "d6"]
    assert [*stopped] == sorted({name[0] for name in ("a", *others)})
    assert stopped["a"][0].startswith("a1: may not leave: 0 of 2 replicas")
    assert stopped["b"][0].startswith("b1: is one machine with a1, whose tunnel stops")
