# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks the variables of all hosts, and works out the plan. Makes no connection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers import own_names
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller import core_version
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller.refusals import refusal
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import (
    plan,
    shared_problems,
    unknown_names,
)

# Registered by mcp_tunnels.stack.settings, without output.
_SETTINGS = "__mcp_tunnel_settings"


class ActionModule(ActionBase):
    """Runs on the controller only."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset(("group", "duty", "fail"))

    def run(self, tmp: None = None, task_vars: Any = None) -> dict[str, Any]:
        """See the module's documentation."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        name = task_vars["inventory_hostname"]
        _validation, arguments = self.validate_argument_spec(
            {
                "group": {"type": "str", "default": "mcp_tunnel"},
                "duty": {"type": "str", "choices": list(plan.DUTIES), "default": "deploy"},
                "fail": {"type": "bool", "default": True},
            }
        )
        group = task_vars["groups"].get(arguments["group"], [])
        settings = task_vars.get(_SETTINGS)
        try:
            # Reported alone: with such a version, anything that follows may go wrong.
            for problem in core_version.check_core():
                raise problem
            self._check_facts(task_vars, group)
            values, problems = _taken(settings)
        except TunnelError as error:
            result.update(failed=True, msg=f"{error} No host was touched.")
            return result
        problems += unknown_names.check_names(task_vars, values[unknown_names.OTHERS])
        members = _members(name, values, group, task_vars["hostvars"])
        machines = {member: _machine(member, task_vars["hostvars"]) for member in members}
        problems += plan.check_host(name, members, machines)
        texts = [str(problem) for problem in problems]
        if texts and arguments["fail"]:
            result.update(refusal(shared_problems.headline(name, texts), texts))
        elif texts:
            result.update(changed=False, problems=texts)
        else:
            result.update(
                plan.make_plan(
                    name, members, task_vars["ansible_play_hosts_all"], arguments["duty"]
                ),
                changed=False,
                # Ansible shows the same text once, however many hosts have it.
                warnings=plan.warnings(values),
            )
        return result

    def _check_facts(self, task_vars: Mapping[str, Any], group: Iterable[str]) -> None:
        """Refuses every host of the group whose facts set variables of ours."""
        for member in {*group, task_vars["inventory_hostname"]}:
            own_names.check_facts(member, task_vars["hostvars"][member].get("ansible_facts"))


def _taken(settings: Any) -> tuple[dict[str, Any], list[TunnelError]]:
    """The variables that were taken from this host, and those without a value."""
    if not isinstance(settings, Mapping):
        raise TunnelError(
            _SETTINGS,
            "is not there, so the variables of this host are not known",
            "Run mcp_tunnels.stack.settings before, and register its result under this name",
        )
    if any(_SETTINGS in reason for reason in settings["undefined"].values()):
        raise TunnelError(
            "The play of the preflight",
            "imports a role of mcp_tunnels.stack, whose own variables hide those of the inventory",
            "Give the preflight a play of its own, before that of the role, or use include_role",
        )
    problems = [
        TunnelError(name, f"has no value: {reason}", "Define what it uses")
        for name, reason in settings["undefined"].items()
    ]
    return dict(settings["variables"]), problems


def _members(
    name: str, values: Mapping[str, Any], group: Iterable[str], hostvars: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """The hosts of the group, name to the variables to compare between them."""
    return {
        member: dict(values) if member == name else plan.compared(hostvars[member])
        for member in group
    }


def _machine(name: str, hostvars: Mapping[str, Any]) -> tuple[str, str]:
    """The key that tells machines apart: hosts with one address and port are one machine."""
    host = hostvars[name]
    return str(host.get("ansible_host", name)), str(host.get("ansible_port", 22))
