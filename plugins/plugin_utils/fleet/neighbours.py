# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts of the group beside each other: the replicas of each instance, and what does not fit.

Each host is read once, and each is compared with the hosts of its machine and of its tunnel only:
the group may have thousands.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.names import is_hostname, lower
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.values import as_port, shown
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller import job
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import (
    role_options,
    settings,
    waves,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.rollout.canaries import (
    CANARY,
    SOAK,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.rollout.window import WINDOW

# The variables on which the replicas of one tunnel must agree.
_SHARED = (
    "mcp_tunnel_domain",
    "mcp_tunnel_state_host",
    "mcp_tunnel_mode",
    "mcp_tunnel_id",
    "mcp_tunnel_display_name",
    # The state host has a signer, or has none.
    "mcp_tunnel_cert_renew_timer",
    # It signs for all of them.
    "mcp_tunnel_signer",
    # The state is kept in the form that the replica which leads the run says.
    "mcp_tunnel_encryption_at_rest",
    CANARY,
    SOAK,
    WINDOW,
)
# Those that no two instances may share, if one of them is in mode wif.
_OF_ONE_TUNNEL = ("mcp_tunnel_id", "mcp_tunnel_display_name")
_COMPARED = (
    *_SHARED,
    *settings.OF_THE_MACHINE,
    "mcp_tunnel_ssh_address",
    "mcp_tunnel_ssh_port",
    "mcp_tunnel_forget",
    "mcp_tunnel_drain",
    "mcp_tunnel_breached",
    waves.BATCH,
    waves.MIN_AVAILABLE,
)
_NAMED = 10
"""Hosts that an error names; of more, the number is given."""

Hosts = Mapping[str, Mapping[str, Any]]
Problems = dict[str, list[TunnelError]]


def compared(hostvars: Mapping[str, Any]) -> dict[str, Any]:
    """The variables of one host that matter to other hosts, with their defaults."""
    return role_options.as_meant(
        {
            variable: hostvars.get(variable, default)
            for variable, default in role_options.defaults().items()
            if variable in _COMPARED
        },
        job.is_platform_job(hostvars),
    )


def taken(hostvars: Mapping[str, Any]) -> dict[str, Any]:
    """The variables that the preflight saw; those of the inventory if the host takes no part."""
    seen = hostvars.get("__mcp_tunnel_settings")
    if isinstance(seen, Mapping) and isinstance(seen.get("variables"), Mapping):
        return {name: seen["variables"][name] for name in _COMPARED}
    return compared(hostvars)


def instances(hosts: Hosts) -> dict[Any, list[str]]:
    """Each instance and its replicas, in the order of the group."""
    found: dict[Any, list[str]] = {}
    for name, values in hosts.items():
        found.setdefault(_key(values["mcp_tunnel_instance"]), []).append(name)
    return found


def replicas_of(name: str, hosts: Hosts, known: Mapping[Any, list[str]]) -> list[str]:
    """The replicas of the instance of host *name*; *known* is what :func:`instances` has found."""
    return known[_key(hosts[name]["mcp_tunnel_instance"])]


def machine(name: str, hostvars: Mapping[str, Any]) -> tuple[str, str]:
    """The key that tells machines apart: hosts with one address and port are one machine."""
    return str(hostvars.get("ansible_host", name)), str(hostvars.get("ansible_port", 22))


def check(hosts: Hosts, machines: Mapping[str, Any]) -> Problems:
    """Everything that is wrong with each host beside the others.

    :param hosts: host to its variables, the compared ones at least.
    :param machines: host to what tells its machine from others.
    """
    problems: Problems = {name: [] for name in hosts}
    known = instances(hosts)
    for names in _grouped(hosts, machines):
        found = settings.check_machine({name: hosts[name] for name in names})
        for name in names:
            problems[name] += found
    for names in known.values():
        _check_replicas(names, hosts, problems)
    _check_instances(hosts, problems)
    for name, values in hosts.items():
        replicas = replicas_of(name, hosts, known)
        problems[name] += _check_state_host(values, hosts, replicas)
        problems[name] += _check_renewal_timer(values, replicas)
        problems[name] += _check_canaries(values, replicas)
        if values["mcp_tunnel_cert_renew_timer"] is True and len(replicas) > 1:
            problems[name] += _check_address(name, values, machines[name])
    return problems


def ssh_address(values: Mapping[str, Any], machine: tuple[str, str]) -> dict[str, Any]:
    """The place at which other replicas reach the SSH server of a host.

    :param machine: address and port at which Ansible reaches it.
    :returns: ``address``, empty if it is none; ``port``, 0 if it is none; whether it ``is_ip``.
    """
    text = lower(str(values["mcp_tunnel_ssh_address"] or machine[0]))
    is_ip = _is_ip(text)
    return {
        "address": text if is_ip or is_hostname(text) else "",
        "port": as_port(values["mcp_tunnel_ssh_port"] or machine[1]),
        "is_ip": is_ip,
    }


def _check_address(
    name: str, values: Mapping[str, Any], machine: tuple[str, str]
) -> Iterator[TunnelError]:
    """Each replica may become the state host, which the others have to reach."""
    found = ssh_address(values, machine)
    if not found["address"]:
        yield TunnelError(
            "mcp_tunnel_ssh_address",
            f"{shown(values['mcp_tunnel_ssh_address'] or machine[0])!r} is no address at which "
            f"other replicas could reach {name}",
            "Give an IP address or a host name, or set mcp_tunnel_cert_renew_timer: false",
        )
    if not 1 <= found["port"] <= 65535:
        yield TunnelError(
            "mcp_tunnel_ssh_port",
            f"{shown(values['mcp_tunnel_ssh_port'] or machine[1])!r} is no port",
            "Give the port of the host's SSH server",
        )


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def check_machines(hosts: Hosts, machines: Mapping[str, str]) -> list[TunnelError]:
    """Everything that is wrong between hosts that turned out to be one machine.

    :param machines: the identity of each host that was looked at.
    """
    looked_at = {name: values for name, values in hosts.items() if name in machines}
    return [
        problem
        for names in _grouped(looked_at, machines)
        for problem in settings.check_machine({name: hosts[name] for name in names})
    ]


def _grouped(hosts: Hosts, machines: Mapping[str, Any]) -> Iterable[list[str]]:
    """The hosts of each machine."""
    found: dict[Any, list[str]] = {}
    for name in hosts:
        found.setdefault(machines[name], []).append(name)
    return found.values()


def _check_replicas(names: list[str], hosts: Hosts, problems: Problems) -> None:
    """Replicas of one instance belong to one tunnel."""
    for variable in _SHARED:
        having: dict[Any, list[str]] = {}
        for name in names:
            having.setdefault(_key(hosts[name][variable]), []).append(name)
        if len(having) == 1:
            continue
        for name in names:
            mine = _key(hosts[name][variable])
            others = [other for other in names if _key(hosts[other][variable]) != mine]
            problems[name].append(
                TunnelError(
                    variable,
                    f"differs between {name} and {_named(others)}, which are replicas of instance "
                    f"{hosts[name]['mcp_tunnel_instance']!r}",
                    "Set it once for the group, or give another tunnel another mcp_tunnel_instance",
                )
            )


def _check_instances(hosts: Hosts, problems: Problems) -> None:
    """Instances are tunnels of their own: two on one would take each other's requests."""
    for variable in _OF_ONE_TUNNEL:
        having: dict[Any, list[str]] = {}
        for name, values in hosts.items():
            if values[variable] != "":
                having.setdefault(_key(values[variable]), []).append(name)
        for names in having.values():
            if len({_key(hosts[name]["mcp_tunnel_instance"]) for name in names}) > 1:
                _name_other_instances(variable, names, hosts, problems)


def _name_other_instances(
    variable: str, names: list[str], hosts: Hosts, problems: Problems
) -> None:
    for name in names:
        mine = hosts[name]
        others = [
            other
            for other in names
            if hosts[other]["mcp_tunnel_instance"] != mine["mcp_tunnel_instance"]
            and "wif" in (hosts[other]["mcp_tunnel_mode"], mine["mcp_tunnel_mode"])
        ]
        if others:
            problems[name].append(
                TunnelError(
                    variable,
                    f"is also that of another instance, on {_named(others)}",
                    "Set it for each instance, not for the whole group; as an extra variable, "
                    "limit the run to the replicas of one instance",
                )
            )


def _check_state_host(
    values: Mapping[str, Any], hosts: Hosts, replicas: list[str]
) -> Iterator[TunnelError]:
    state_host = values["mcp_tunnel_state_host"]
    if state_host and state_host != "localhost" and _key(state_host) not in hosts:
        yield TunnelError(
            "mcp_tunnel_state_host",
            f"{state_host!r} is neither localhost nor one of the replicas",
            f"Use localhost, or one of {_named(replicas)}",
        )


def _check_renewal_timer(values: Mapping[str, Any], replicas: list[str]) -> Iterator[TunnelError]:
    """A replica has to hold the CA: its signer signs for all."""
    state_host = values["mcp_tunnel_state_host"]
    if values["mcp_tunnel_cert_renew_timer"] is True and state_host not in ["", *replicas]:
        yield TunnelError(
            "mcp_tunnel_cert_renew_timer",
            f"no replica holds the CA: the state host is {state_host!r}",
            f"Make a replica the state host ({_named(replicas)}), or set the timer to false and "
            "run renew_cert.yml from a scheduler of your own (docs/deployment.md, Renewal)",
        )


def _check_canaries(values: Mapping[str, Any], replicas: list[str]) -> Iterator[TunnelError]:
    """A misspelt name would let another replica go first."""
    named = values[CANARY] if isinstance(values[CANARY], list) else []
    for name in named:
        if isinstance(name, str) and name not in replicas:
            yield TunnelError(
                CANARY,
                f"names {shown(name)!r}, which is no replica of this tunnel",
                f"Use names of its replicas ({_named(replicas)}), or set it for each tunnel",
            )


def _named(hosts: list[str]) -> str:
    more = f" and {len(hosts) - _NAMED} more" if len(hosts) > _NAMED else ""
    return ", ".join(hosts[:_NAMED]) + more


def _key(value: Any) -> Any:
    """The value as a key: also one of a wrong type, which another rule refuses."""
    return value if isinstance(value, str) else repr(value)
