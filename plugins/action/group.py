# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares the hosts of the group, once for all of them. Makes no connection."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers import own_names
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller import job
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.fleet import (
    availability,
    breached,
    host_names,
    limits,
    neighbours,
    report,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import plan, waves
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.rollout.canaries import (
    SOAK,
    soak_seconds,
)


class ActionModule(ActionBase):
    """Runs on the controller only."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset(("duty", "group"))

    def run(self, tmp: None = None, task_vars: Any = None) -> dict[str, Any]:
        """See the module's documentation."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(
            {
                "duty": {"type": "str", "choices": list(plan.DUTIES), "default": "deploy"},
                "group": {"type": "str", "default": "mcp_tunnel"},
            }
        )
        names = breached.without(
            task_vars["groups"].get(arguments["group"], []), task_vars["groups"]
        )
        taking_part = task_vars["ansible_play_hosts_all"]
        read, machines = {}, {}
        try:
            # Each host is read once: its variables are worked out anew every time.
            for name in dict.fromkeys((*names, *taking_part)):
                hostvars = task_vars["hostvars"][name]
                own_names.check_facts(name, hostvars.get("ansible_facts"))
                values = neighbours.taken(hostvars)
                read[name] = breached.without_canaries(values, task_vars["groups"])
                machines[name] = neighbours.machine(name, hostvars)
        except TunnelError as error:
            result.update(failed=True, msg=f"{error} No host was touched.")
            return result
        group = {name: read[name] for name in names}
        order, sizes = waves.make_waves(availability.roll_out(group, set(taking_part)))
        hosts = _beside_each_other(group, machines, taking_part, task_vars["groups"])
        leaving, problems = availability.leaving(group, taking_part, arguments["duty"])
        lost: list[str] = []
        if not task_vars["groups"].get(breached.GROUP):
            lost = breached.named(group, taking_part)
            duty = arguments["duty"]
            problems = [
                *problems,
                *breached.check(group, machines, lost, taking_part, duty),
            ]
        for found in hosts.values():
            found["problems"] += map(str, problems)
        result.update(
            changed=False,
            at=time.time(),
            hosts=hosts,
            leaving=leaving,
            breached=lost,
            surviving=breached.surviving(group, lost),
            waves={"order": order, "sizes": sizes},
            addresses={
                name: neighbours.ssh_address(values, machines[name])
                for name, values in group.items()
            },
            tunnels=len(neighbours.instances(group)),
            is_job=job.is_job(task_vars),
            # A task runs in a child of ansible-playbook.
            unattended=job.unattended(task_vars, os.getppid()),
            warnings=limits.warnings(group),
            **report.statistics(self._begun(group, taking_part, arguments["duty"])),
        )
        return result

    def _begun(self, group: neighbours.Hosts, taking_part: list[str], duty: str) -> dict[str, Any]:
        """The report of a run that comes no further, of values that nothing has judged yet."""
        tunnels = {}
        for names in neighbours.instances(group).values():
            values = group[names[0]]
            if set(names).intersection(taking_part):
                tunnels[str(values["mcp_tunnel_instance"])] = report.Tunnel(
                    mode=str(values["mcp_tunnel_mode"]),
                    domain=str(values["mcp_tunnel_domain"]),
                    tunnel_id=str(values["mcp_tunnel_id"]),
                    unproven=names,
                )
        return report.make(duty, bool(self._task.check_mode), tunnels)


def _beside_each_other(
    group: neighbours.Hosts,
    machines: Mapping[str, Any],
    taking_part: list[str],
    groups: Mapping[str, Any],
) -> dict[str, dict[str, Any]]:
    """For each host of the play: its replicas, those that lead or go first, and its problems."""
    known = neighbours.instances(group)
    leaders: dict[int, str] = {}
    soaks: dict[int, int] = {}
    for name in taking_part:
        if name in group:
            tunnel = id(neighbours.replicas_of(name, group, known))
            leaders.setdefault(tunnel, name)
            soaks.setdefault(tunnel, soak_seconds(group[name][SOAK]))
    ranked = [*sorted(soaks.values(), reverse=True), 0]
    problems = neighbours.check(group, machines)
    found = {}
    for name in taking_part:
        if name in group:
            replicas = neighbours.replicas_of(name, group, known)
            here = [each for each in replicas if each in taking_part]
            found[name] = {
                "replicas": replicas,
                "leader": leaders[id(replicas)],
                "canaries": availability.canaries(group, here),
                "soak": ranked[soaks[id(replicas)] == ranked[0]],
                "problems": list(map(str, (*host_names.check(name, groups), *problems[name]))),
            }
    return found
