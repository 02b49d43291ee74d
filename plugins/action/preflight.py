# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks the variables of all hosts, and works out what follows from them. Connects to nobody."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils import plan, role_options


class ActionModule(ActionBase):
    """Runs on the controller only."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset(("group",))

    def run(self, tmp=None, task_vars=None):
        """See the module's documentation."""
        result = super().run(tmp, task_vars)
        name = task_vars["inventory_hostname"]
        _validation, arguments = self.validate_argument_spec(
            {"group": {"type": "str", "default": "mcp_tunnel"}}
        )
        values, problems = self._values(task_vars)
        members = self._members(task_vars, arguments["group"], values)
        machines = {member: _machine(member, task_vars["hostvars"]) for member in members}
        problems += plan.check_host(name, members, machines)
        if problems:
            count = f"{len(problems)} problems" if len(problems) > 1 else "1 problem"
            lines = "".join(f"\n- {problem}" for problem in problems)
            result.update(
                failed=True,
                msg=f"{count} in the variables of {name}; no host was touched:{lines}",
            )
        else:
            facts = plan.make_plan(name, members, task_vars["ansible_play_hosts_all"])
            result.update(changed=False, ansible_facts={"mcp_tunnel_plan": facts})
        return result

    def _values(self, task_vars: Mapping[str, Any]) -> tuple[dict[str, Any], list[TunnelError]]:
        """All public variables of this host with their defaults, and those without a value."""
        values = dict(role_options.defaults())
        problems = []
        for name in values:
            if name not in task_vars:
                continue
            try:
                values[name] = self._templar.template(task_vars[name])
            except AnsibleError as error:
                # The first line says what is undefined; the rest quotes the template.
                reason = str(error).partition("\n")[0]
                problems.append(TunnelError(name, f"has no value: {reason}", "Define what it uses"))
        return role_options.with_truth_values(values), problems

    def _members(
        self, task_vars: Mapping[str, Any], group: str, values: Mapping[str, Any]
    ) -> dict[str, dict[str, Any]]:
        """The hosts of the group, name to what has to be compared between them."""
        members = {}
        for name in task_vars["groups"].get(group, []):
            if name == task_vars["inventory_hostname"]:
                members[name] = dict(values)
                continue
            members[name] = plan.compared(task_vars["hostvars"][name])
        return members


def _machine(name: str, hostvars: Mapping[str, Any]) -> tuple[str, str]:
    """What tells machines apart: inventory hosts with one address and port are one machine."""
    host = hostvars[name]
    return str(host.get("ansible_host", name)), str(host.get("ansible_port", 22))
