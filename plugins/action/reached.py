# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Concludes from what the hosts have answered. Makes no connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller.refusals import refusal
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.fleet import (
    availability,
    breached,
    neighbours,
    report,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.fleet.reach import Reach
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import waves

# Registered by mcp_tunnels.stack.host_check.
_HOST = "__mcp_tunnel_host"
# Registered by it as well, for the replicas outside of --limit; see playbooks/tasks/left_out.yml.
_BESIDE = "__mcp_tunnel_beside"
# Registered by mcp_tunnels.stack.preflight.
_PLAN = "mcp_tunnel_plan"


class ActionModule(ActionBase):
    """Runs on the controller only."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset(("group",))

    def run(self, tmp: None = None, task_vars: Any = None) -> dict[str, Any]:
        """See the module's documentation."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(
            {"group": {"type": "str", "default": "mcp_tunnel"}}
        )
        taking_part = set(task_vars["ansible_play_hosts_all"])
        here = set(task_vars["ansible_play_hosts"])
        read, answers, plans = {}, {}, {}
        left_out: dict[str, Any] = {}
        # Each host is read once: its variables are worked out anew every time.
        for name in breached.without(
            task_vars["groups"].get(arguments["group"], []), task_vars["groups"]
        ):
            hostvars = task_vars["hostvars"][name]
            values = neighbours.taken(hostvars)
            read[name] = breached.without_canaries(values, task_vars["groups"])
            if name in taking_part:
                answers[name] = hostvars.get(_HOST, {})
                plans[name] = hostvars.get(_PLAN, {})
                asked = hostvars.get(_BESIDE, {}).get("results", [])
                left_out.update(
                    (each["item"], each.get("facts")) for each in asked if not each.get("skipped")
                )
        machines = {name: answers[name]["facts"]["machine"] for name in answers if name in here}
        problems = neighbours.check_machines(read, machines)
        if problems:
            headline = (
                "Hosts of the inventory are names of one machine (they have the same "
                "/etc/machine-id, the same boot and the same process 1); nothing was changed on "
                "any host"
            )
            result.update(refusal(headline, problems))
            return result
        lost = task_vars["groups"].get(breached.GROUP, [])
        conclusion = _conclude(read, plans, answers, here, lost, left_out)
        # A host that is gone has no turn. Its tunnel may need another canary.
        gone = set(conclusion["left_out"])
        drained = [name for name in answers if name in here and answers[name]["facts"]["drained"]]
        order, sizes = waves.make_waves(availability.roll_out(read, taking_part - gone, drained))
        result.update(
            changed=False,
            waves={"order": order, "sizes": sizes},
            **conclusion,
            **_reported(conclusion["stopped"]),
        )
        return result


def _reported(stopped: Mapping[str, str]) -> dict[str, Any]:
    """The tunnels that stop here, for the report of the run."""
    parts = [report.stopped(instance, why) for instance, why in stopped.items()]
    tunnels = {instance: end for part in parts for instance, end in part["tunnels"].items()}
    return report.statistics({**parts[0], "tunnels": tunnels}, part=True) if parts else {}


def _conclude(
    group: neighbours.Hosts,
    plans: Mapping[str, Any],
    answers: Mapping[str, Any],
    here: set[str],
    lost: Sequence[str] = (),
    left_out: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """The conclusions for each tunnel of which a replica has answered.

    :param lost: the hosts that the run takes out. A state host that is one of them is none.
    :param left_out: the replicas that were asked although they take no part, to what they have
        said; ``None`` for one that could not be asked.
    """
    result: dict[str, Any] = {"left_out": [], "stopped": {}, "plans": {}, "former": {}}
    result.update(warnings=[], marks={}, back={})
    for names in neighbours.instances(group).values():
        answered = [name for name in names if name in here]
        if not answered:
            continue
        first = answered[0]
        plan, forget = plans[first], group[first]["mcp_tunnel_forget"]
        values = {
            **group[first],
            waves.MIN_AVAILABLE: availability.least(group, names),
            "mcp_tunnel_forget": [*forget, *lost],
        }
        gone = [n for n in names if n not in here and answers.get(n, {}).get("unreachable")]
        remembered = {name: answers[name]["facts"]["remembered"] for name in answered}
        drained = [name for name in answered if answers[name]["facts"]["drained"]]
        identities = {name: answers[name]["facts"]["identity"] for name in answered}
        beside = {name: left_out[name] for name in names if name in left_out}
        remembered.update((name, said["remembered"]) for name, said in beside.items() if said)
        reach = Reach(names, gone, remembered, values, drained)
        memory = breached.Memory(remembered, identities)
        result["marks"].update({name: memory.kept(name, forget) for name in answered})
        result["back"][plan["instance"]] = memory.back(forget)
        try:
            choice = reach.state_host()
            memory.check(answered, choice.name, forget)
            memory.check_heard(answered, choice.name, [n for n in beside if not beside[n]])
            reach.check(choice.name, plan["duty"])
        except TunnelError as error:
            result["stopped"][plan["instance"]] = str(error)
            continue
        result["left_out"] += gone
        leader = first if plan["leader"] in gone else plan["leader"]
        found = {
            "leader": leader,
            "state_host": choice.name,
            "canaries": availability.canaries(group, answered, drained),
        }
        if plan["soak_seconds"] and not plan["closed"] and len(drained) == len(answered):
            result["warnings"].append(
                f"Instance {plan['instance']}: all replicas of this run are drained, so no canary "
                "is watched."
            )
        if any(plan[name] != value for name, value in found.items()):
            result["plans"][plan["instance"]] = found
        if choice.former:
            result["former"][plan["instance"]] = choice.former
    return result
