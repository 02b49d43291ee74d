# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks the variables of all hosts, and works out what follows from them. Connects to nobody."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.mcp_tunnels.stack.plugins.module_utils import settings
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils import role_options
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.brought_credentials import (
    check_brought_credentials,
)

# What the replicas of one tunnel must agree on.
_SHARED = ("mcp_tunnel_domain", "mcp_tunnel_state_host", "mcp_tunnel_mode")
_COMPARED = (
    "mcp_tunnel_instance",
    *_SHARED,
    *settings.PORTS,
    "cloudflared_version",
    "cloudflared_install_method",
    "cloudflared_binary_file",
)


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
        problems += _problems(name, values, members, task_vars["hostvars"])
        if problems:
            count = f"{len(problems)} problems" if len(problems) > 1 else "1 problem"
            lines = "".join(f"\n- {problem}" for problem in problems)
            result.update(
                failed=True,
                msg=f"{count} in the variables of {name}; no host was touched:{lines}",
            )
        else:
            plan = _plan(values, members, task_vars["ansible_play_hosts_all"])
            result.update(changed=False, ansible_facts={"mcp_tunnel_plan": plan})
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
        return values, problems

    def _members(
        self, task_vars: Mapping[str, Any], group: str, values: Mapping[str, Any]
    ) -> dict[str, dict[str, Any]]:
        """The hosts of the group, name to what has to be compared between them."""
        members = {}
        for name in task_vars["groups"].get(group, []):
            if name == task_vars["inventory_hostname"]:
                members[name] = dict(values)
                continue
            host = task_vars["hostvars"][name]
            members[name] = {
                variable: host.get(variable, values_default)
                for variable, values_default in role_options.defaults().items()
                if variable in _COMPARED
            }
        return members


def _rules(values: Mapping[str, Any]) -> list[TunnelError]:
    """What is wrong with the variables of one host by our rules, and by their declared types."""
    problems = [*settings.check_all(values), *check_brought_credentials(values)]
    # Our rules say more about a variable than its type does.
    told = {problem.subject.partition("[")[0] for problem in problems}
    problems += [
        TunnelError(name, text, "See docs/variables.md")
        for name, text in role_options.type_problems(values).items()
        if name not in told
    ]
    return problems


def _problems(
    name: str,
    values: Mapping[str, Any],
    members: Mapping[str, Mapping[str, Any]],
    hostvars: Mapping[str, Any],
) -> list[TunnelError]:
    machine = _machine(name, hostvars)
    neighbours = {
        member: compared
        for member, compared in members.items()
        if _machine(member, hostvars) == machine
    }
    return [
        *_rules(values),
        *settings.check_machine(neighbours),
        *_check_replicas(name, values, members),
        *_check_state_host(values, members),
    ]


def _machine(name: str, hostvars: Mapping[str, Any]) -> tuple[str, str]:
    """What tells machines apart: inventory hosts with one address and port are one machine."""
    host = hostvars[name]
    return str(host.get("ansible_host", name)), str(host.get("ansible_port", 22))


def _replicas(values: Mapping[str, Any], members: Mapping[str, Mapping[str, Any]]) -> list[str]:
    instance = values["mcp_tunnel_instance"]
    return [name for name, member in members.items() if member["mcp_tunnel_instance"] == instance]


def _check_replicas(
    name: str, values: Mapping[str, Any], members: Mapping[str, Mapping[str, Any]]
) -> list[TunnelError]:
    """Replicas of one instance belong to one tunnel."""
    problems = []
    for variable in _SHARED:
        others = [
            other
            for other in _replicas(values, members)
            if members[other][variable] != values[variable]
        ]
        if others:
            problems.append(
                TunnelError(
                    variable,
                    f"differs between {name} and {', '.join(others)}, which are replicas of "
                    f"instance "
                    f"{values['mcp_tunnel_instance']!r}",
                    "Set it once for the group, or give another tunnel another mcp_tunnel_instance",
                )
            )
    return problems


def _check_state_host(
    values: Mapping[str, Any], members: Mapping[str, Mapping[str, Any]]
) -> list[TunnelError]:
    state_host = values["mcp_tunnel_state_host"]
    if not state_host or state_host == "localhost" or state_host in members:
        return []
    return [
        TunnelError(
            "mcp_tunnel_state_host",
            f"{state_host!r} is neither localhost nor one of the replicas",
            f"Use localhost, or one of {', '.join(members)}",
        )
    ]


def _plan(
    values: Mapping[str, Any], members: Mapping[str, Mapping[str, Any]], play_hosts: list[str]
) -> dict[str, Any]:
    instance = values["mcp_tunnel_instance"]
    replicas = _replicas(values, members)
    proxy_unit = f"mcp-proxy@{instance}.service"
    cloudflared_unit = f"mcp-cloudflared@{instance}.service"
    units = {"mcp-proxy": proxy_unit, "mcp-cloudflared": cloudflared_unit}
    ca_file = values["proxy_upstream_ca_file"]
    return {
        "instance": instance,
        "state_host": values["mcp_tunnel_state_host"] or replicas[0],
        # With --limit, the first of the replicas that take part.
        "leader": next(name for name in play_hosts if name in replicas),
        "config_dir": f"/etc/mcp-tunnel/{instance}",
        "state_dir": f"/var/lib/mcp-tunnel/{instance}",
        "proxy_unit": proxy_unit,
        "cloudflared_unit": cloudflared_unit,
        "ports": {variable: settings.as_port(values[variable]) for variable in settings.PORTS},
        "host_check": {
            "ports": [
                {
                    "variable": variable,
                    "port": settings.as_port(values[variable]),
                    "unit": units[service],
                }
                for variable, service in settings.PORTS.items()
            ],
            "files": [{"variable": "proxy_upstream_ca_file", "path": ca_file}] if ca_file else [],
        },
        "domain": str(values["mcp_tunnel_domain"]).lower(),
        "routes": dict(values["mcp_tunnel_routes"]),
        "health_timeout": values["mcp_tunnel_health_timeout"],
    }
