# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Concludes from what the hosts have answered. Makes no connection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller.refusals import refusal
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import neighbours, waves
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight.reach import (
    Reach,
    why_stopped,
)

# Registered by mcp_tunnels.stack.host_check.
_HOST = "__mcp_tunnel_host"
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
        # Each host is read once: its variables are worked out anew every time.
        for name in task_vars["groups"].get(arguments["group"], []):
            hostvars = task_vars["hostvars"][name]
            read[name] = neighbours.taken(hostvars)
            if name in taking_part:
                answers[name] = hostvars.get(_HOST, {})
                plans[name] = hostvars.get(_PLAN, {})
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
        gone = {name for name in answers if name not in here and answers[name].get("unreachable")}
        result.update(changed=False, **_conclude(read, plans, here, gone))
        return result


def _conclude(
    group: neighbours.Hosts, plans: Mapping[str, Any], here: Iterable[str], gone: Iterable[str]
) -> dict[str, Any]:
    """Who is left out, which tunnels stop, and who leads in place of a leader that is left out."""
    left_out: list[str] = []
    stopped: dict[str, str] = {}
    leaders: dict[str, str] = {}
    for names in neighbours.instances(group).values():
        reach = Reach(
            names,
            [name for name in names if name in here],
            [name for name in names if name in gone],
        )
        if not reach.here:
            continue
        first = reach.here[0]
        plan = plans[first]
        why = why_stopped(reach, plan, group[first][waves.MIN_AVAILABLE])
        if why:
            stopped[plan["instance"]] = why
            continue
        left_out += reach.unreachable
        if plan["leader"] in reach.unreachable:
            leaders[plan["instance"]] = first
    return {"left_out": left_out, "stopped": stopped, "leaders": leaders}
