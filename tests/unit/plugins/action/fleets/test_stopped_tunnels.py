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

    def conclude(self):
        """Return the hosts that are rebooted, and the problems of each tunnel that is not."""
        here = [name for name in self.names if name not in self.gone]
        hostvars = {name: self._variables(name, here) for name in self.names}
        task_vars = {
            "groups": {"mcp_tunnel": list(self.names)},
            "ansible_play_hosts": here,
            "ansible_play_hosts_all": list(self.names),
            "hostvars": hostvars,
        }
        run = availability._Run(task_vars, "mcp_tunnel")
        waves, stopped = availability._conclude(run, True, [])
        return [name for wave in waves for name in wave], stopped

    def _variables(self, name, here):
        on_it = [other[0] for other in here if other[1:] == name[1:]]
        boot = {"machine": name[1:].rjust(16, "0"), "needed": False, "interrupted": False}
        found = {
            "ansible_host": f"10.0.0.{name[1:]}",
            "__mcp_tunnel_settings": {"variables": {**DEFAULTS, "mcp_tunnel_instance": name[0]}},
            "mcp_tunnel_plan": {"switches": {"mcp_tunnel_drain_last": False}},
            "__provision_held": {"holder": {}},
            "__mcp_tunnel_health": self.health[name],
            "__mcp_tunnel_boot": {**boot, "in_service": self.in_service.get(name, on_it)},
        }
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
