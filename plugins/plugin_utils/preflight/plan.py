# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The preflight's conclusions from the variables of a host and of its group."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.values import as_port
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import (
    cloudflared as cloudflared_settings,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import (
    role_options,
    settings,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight.cloudflared_grace import (
    seconds,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight.credentials import (
    check_brought_credentials,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight.firewall_plan import (
    firewall_check,
    firewall_plan,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight.proxy_config import (
    Judged,
    judge,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight.routes import (
    check_routes,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight.wif import check_wif
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.cloudflared import (
    BroughtCloudflared,
)

# The variables on which the replicas of one tunnel must agree.
_SHARED = (
    "mcp_tunnel_domain",
    "mcp_tunnel_state_host",
    "mcp_tunnel_mode",
    "mcp_tunnel_id",
    "mcp_tunnel_display_name",
)
# The variables of other hosts that matter to a host.
COMPARED = (*_SHARED, *settings.OF_THE_MACHINE)

Members = Mapping[str, Mapping[str, Any]]

#: The purpose of a run, to the phase in which it puts the CA; see tunnel_ca.
DUTIES = {
    "deploy": "current",
    "recover": "current",
    "rotate_ca": "added",
    "rotate_token": "current",
}


def check_values(values: Mapping[str, Any]) -> list[TunnelError]:
    """The problems with one host's variables: by our rules, the proxy's, and their types."""
    judged = judge(values)
    problems = [
        *settings.check_all(values),
        *check_routes(values, judged),
        *check_wif(values),
        *check_brought_credentials(_as_meant(values, judged)),
        *_check_brought_binary(values),
    ]
    # Our rules say more about a value than the proxy's do: those know nothing of the variables.
    told = {problem.subject for problem in problems}
    problems += [item for item in judged.problems if item.subject not in told]
    # Our rules say more about a variable than its type does.
    told = {problem.subject.partition("[")[0] for problem in problems}
    problems += [item for item in role_options.type_problems(values) if item.subject not in told]
    return problems


def _as_meant(values: Mapping[str, Any], judged: Judged) -> dict[str, Any]:
    """The variables with domain and routes as the proxy understands them, if it does."""
    if not judged.domain or not judged.config.routes:
        return dict(values)
    return {
        **values,
        "mcp_tunnel_domain": judged.domain,
        "mcp_tunnel_routes": judged.config.routes,
    }


def _check_brought_binary(values: Mapping[str, Any]) -> Iterator[TunnelError]:
    """Whether the binary is the intended one; another rule checks that it is a file."""
    path = Path(str(values["cloudflared_binary_file"])).expanduser()
    checksum = values["cloudflared_binary_sha256"]
    if values["cloudflared_install_method"] == "file" and checksum and path.is_file():
        try:
            BroughtCloudflared(path, str(checksum))
        except TunnelError as error:
            yield error


def check_host(name: str, members: Members, machines: Mapping[str, Any]) -> list[TunnelError]:
    """Everything that is wrong with the variables of host *name*, alone and beside the others.

    *members* has all variables of this host and COMPARED ones of the others of its group,
    *machines* says which of them are the same machine.
    """
    values = members[name]
    neighbours = {
        member: compared
        for member, compared in members.items()
        if machines[member] == machines[name]
    }
    return [
        *check_values(values),
        *settings.check_machine(neighbours),
        *_check_replicas(name, values, members),
        *_check_instances(values, members),
        *_check_state_host(values, members),
        *_check_renewal_timer(values, members),
    ]


def warnings(values: Mapping[str, Any]) -> list[str]:
    """Remarks on one host's variables that are no reason to refuse them."""
    if values["cloudflared_known_bad"] != "warn":
        return []
    return [str(fault) for fault in cloudflared_settings.known_bad(values)]


def compared(hostvars: Mapping[str, Any]) -> dict[str, Any]:
    """The variables of one host that matter to other hosts, with their defaults."""
    return role_options.with_truth_values(
        {
            variable: hostvars.get(variable, default)
            for variable, default in role_options.defaults().items()
            if variable in COMPARED
        }
    )


def check_machines(members: Members, machines: Mapping[str, str]) -> list[TunnelError]:
    """Everything that is wrong between hosts that turned out to be one machine.

    *machines* has the identity of each host that was looked at; *members* has at least COMPARED.
    """
    names: dict[str, list[str]] = {}
    for name in members:
        if name in machines:
            names.setdefault(machines[name], []).append(name)
    return [
        problem
        for sharing in names.values()
        for problem in settings.check_machine({name: members[name] for name in sharing})
    ]


def _replicas(values: Mapping[str, Any], members: Members) -> list[str]:
    instance = values["mcp_tunnel_instance"]
    return [name for name, member in members.items() if member["mcp_tunnel_instance"] == instance]


def _check_replicas(name: str, values: Mapping[str, Any], members: Members) -> list[TunnelError]:
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


def _check_instances(values: Mapping[str, Any], members: Members) -> Iterator[TunnelError]:
    """Instances are tunnels of their own: two on one would take each other's requests."""
    for variable in ("mcp_tunnel_id", "mcp_tunnel_display_name"):
        others = [
            other
            for other, compared in members.items()
            if compared["mcp_tunnel_instance"] != values["mcp_tunnel_instance"]
            and compared[variable] == values[variable] != ""
            and "wif" in (compared["mcp_tunnel_mode"], values["mcp_tunnel_mode"])
        ]
        if others:
            yield TunnelError(
                variable,
                f"is also that of another instance, on {', '.join(others)}",
                "Set it for each instance, not for the whole group; with -e, add --limit and the "
                "replicas of one instance",
            )


def _check_state_host(values: Mapping[str, Any], members: Members) -> list[TunnelError]:
    state_host = values["mcp_tunnel_state_host"]
    if not state_host or state_host in ["localhost", *members]:
        return []
    return [
        TunnelError(
            "mcp_tunnel_state_host",
            f"{state_host!r} is neither localhost nor one of the replicas",
            f"Use localhost, or one of {', '.join(members)}",
        )
    ]


def _check_renewal_timer(values: Mapping[str, Any], members: Members) -> list[TunnelError]:
    """The timer runs on the replica that holds the CA; somewhere there must be one."""
    state_host = values["mcp_tunnel_state_host"]
    replicas = _replicas(values, members)
    if values["mcp_tunnel_cert_renew_timer"] is not True or state_host in ["", *replicas]:
        return []
    return [
        TunnelError(
            "mcp_tunnel_cert_renew_timer",
            f"no replica holds the CA: the state host is {state_host!r}",
            f"Make a replica the state host ({', '.join(replicas)}), or leave the timer out and "
            "run renew_cert.yml from a scheduler of your own",
        )
    ]


def make_plan(
    name: str, members: Members, play_hosts: list[str], duty: str = "deploy"
) -> dict[str, Any]:
    """The plan that follows from host *name*'s variables; see the module's documentation.

    *play_hosts* are the hosts that take part in this run, in their order; *duty* is one of DUTIES.
    """
    values = members[name]
    instance = values["mcp_tunnel_instance"]
    replicas = _replicas(values, members)
    proxy_unit = f"mcp-proxy@{instance}.service"
    cloudflared_unit = f"mcp-cloudflared@{instance}.service"
    units = {"mcp-proxy": proxy_unit, "mcp-cloudflared": cloudflared_unit}
    ca_file = values["proxy_upstream_ca_file"]
    judged = judge(values)
    return {
        "instance": instance,
        "duty": duty,
        "ca_phase": DUTIES[duty],
        "mode": values["mcp_tunnel_mode"],
        "state_host": values["mcp_tunnel_state_host"] or replicas[0],
        "replicas": replicas,
        # With --limit, the first of the replicas that take part.
        "leader": next(host for host in play_hosts if host in replicas),
        "config_dir": f"/etc/mcp-tunnel/{instance}",
        "state_dir": f"/var/lib/mcp-tunnel/{instance}",
        "proxy_unit": proxy_unit,
        "proxy_socket": f"mcp-proxy@{instance}.socket",
        "cloudflared_unit": cloudflared_unit,
        # For timeout(1), 0 means no limit.
        "cloudflared_grace_seconds": max(seconds(values["cloudflared_grace_period"]), 0.1),
        "renewal_unit": f"mcp-tunnel-renew-cert@{instance}",
        "ports": {variable: as_port(values[variable]) for variable in settings.PORTS},
        "host_check": {
            "ports": [
                {
                    "variable": variable,
                    "port": as_port(values[variable]),
                    "unit": units[service],
                }
                for variable, service in settings.PORTS.items()
            ],
            "files": [{"variable": "proxy_upstream_ca_file", "path": ca_file}] if ca_file else [],
            "firewall": firewall_check(values, judged.config),
        },
        "firewall": firewall_plan(values, judged.config),
        "domain": judged.domain,
        "switches": {variable: values[variable] for variable in role_options.switches()},
        "routes": {name: str(upstream) for name, upstream in judged.config.routes.items()},
        # As they were written: the same text again changes no file.
        "allowed_ips": [
            str(item) for item in values["proxy_allowed_ips"] or judged.config.upstream.allowed_ips
        ],
        "proxy_config": judged.text,
        # Whole seconds, because systemd does not know all of Go's units.
        "proxy_shutdown_seconds": math.ceil(judged.config.shutdown_timeout),
        "health_timeout": values["mcp_tunnel_health_timeout"],
    }
