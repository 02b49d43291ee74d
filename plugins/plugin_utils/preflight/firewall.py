# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for the variables of the firewall: a mistake here would open or close the host."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_network
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.values import (
    Values,
    as_number,
    as_port,
    shape,
)

# The variables from which the rules of a host are made, not those of an instance.
HOST_WIDE = (
    "firewall_audit",
    "firewall_resolvers",
    "firewall_admin_users",
    "firewall_host_policy",
    "firewall_ssh_sources",
    "firewall_ssh_ports",
    "firewall_api_networks",
    "firewall_inbound",
    "firewall_outbound",
)
SERVICE_USERS = ("mcp-proxy", "mcp-cloudflared", "mcp-tunnel-renew", "mcp-tunnel-signer")
PROTOCOLS = ("tcp", "udp")
LONGEST_ROLLBACK_TIMEOUT = 3600  # seconds; after a longer lockout, people repair it in other ways

_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")  # useradd(8); nft takes it in quotes
_REQUIRED = ("protocol", "ports", "networks")
_OPENINGS = {"firewall_inbound": _REQUIRED, "firewall_outbound": (*_REQUIRED, "user")}
_OPENING_REMEDY = "Write for example {protocol: tcp, ports: [443], networks: [10.0.0.0/8]}"


def check_firewall(values: Values) -> Iterator[TunnelError]:
    """Everything that is wrong with the variables of the firewall."""
    yield from _check_edge(values)
    yield from _check_resolvers(values["firewall_resolvers"])
    yield from _check_users(values)
    yield from _check_rollback_timeout(values["firewall_rollback_timeout"])
    yield from _check_ssh(values)
    yield from _check_networks("firewall_api_networks", values["firewall_api_networks"])
    for variable, known in _OPENINGS.items():
        yield from _check_openings(variable, values[variable], known)


def named_users(values: Values) -> list[tuple[str, Any]]:
    """The users of the host that the rules name, each with the variable that names it."""
    users = []
    if isinstance(values["firewall_admin_users"], list):
        users += [("firewall_admin_users", name) for name in values["firewall_admin_users"]]
    if isinstance(values["firewall_outbound"], list):
        users += [
            (f"firewall_outbound[{index}]", opening["user"])
            for index, opening in enumerate(values["firewall_outbound"])
            if isinstance(opening, Mapping) and opening.get("user") is not None
        ]
    return users


def _check_edge(values: Values) -> Iterator[TunnelError]:
    variable = "mcp_tunnel_edge_networks"
    problems = [*_check_networks(variable, values[variable])]
    yield from problems
    if problems:
        return
    version = str(values["cloudflared_edge_ip_version"])
    families = {str(ip_network(str(item)).version) for item in values[variable]}
    if version in ("4", "6") and version not in families:
        problem = f"has no IPv{version} network, which cloudflared_edge_ip_version asks for"
    elif not families:
        problem = "is empty, so cloudflared could reach no edge"
    else:
        return
    yield TunnelError(variable, problem, "Leave it out for the edge's published networks")


def _check_networks(subject: str, networks: Any) -> Iterator[TunnelError]:
    if not isinstance(networks, list):
        yield _no_list(subject, networks, "networks")
        return
    for item in networks:
        problem = _network_problem(str(item))
        if problem:
            yield TunnelError(
                subject,
                f"{item!r} {problem}",
                "Write it like 198.51.100.0/24 or 2001:db8:1::/48, or give one address",
            )


def _network_problem(text: str) -> str:
    """Why the text is no network that nft and we understand alike, as the rest of a sentence."""
    address, _slash, length = text.partition("/")
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        return "is not a network"
    # Python also takes masks (10.0.0.0/255.0.0.0) and interfaces (fe80::1%eth0).
    if "%" in text or not re.fullmatch(r"[0-9]{0,3}", length):
        return "is not a network"
    if network.network_address != ip_address(address):
        return f"is an address inside a network, which is {network}"
    return ""


def _check_resolvers(resolvers: Any) -> Iterator[TunnelError]:
    if not isinstance(resolvers, list):
        yield _no_list("firewall_resolvers", resolvers, "addresses")
        return
    for item in resolvers:
        try:
            right = "%" not in str(item) and ip_address(str(item))
        except ValueError:
            right = False
        if not right:
            yield TunnelError(
                "firewall_resolvers",
                f"{item!r} is not an address",
                "Write it like 10.0.0.53 or 2001:db8::53, without a port or an interface; or leave "
                "the variable out for the host's own resolvers",
            )


def _check_users(values: Values) -> Iterator[TunnelError]:
    if not isinstance(values["firewall_admin_users"], list):
        yield _no_list("firewall_admin_users", values["firewall_admin_users"], "users")
    for subject, name in named_users(values):
        if name in SERVICE_USERS:
            yield TunnelError(
                subject,
                f"{name} is the user of a service, whose rules are fixed",
                "Name users of your own",
            )
        elif not isinstance(name, str) or not _USER.fullmatch(name):
            yield TunnelError(
                subject,
                f"{name!r} is not the name of a user",
                "Give the name, not the number, of a user that the host knows",
            )


def _check_rollback_timeout(value: Any) -> Iterator[TunnelError]:
    if as_number(value, 0, LONGEST_ROLLBACK_TIMEOUT) is None:
        yield TunnelError(
            "firewall_rollback_timeout",
            f"{value!r} is not a whole number of seconds from 0 to {LONGEST_ROLLBACK_TIMEOUT}",
            "Leave it out for the default",
        )


def _check_ssh(values: Values) -> Iterator[TunnelError]:
    sources = values["firewall_ssh_sources"]
    yield from _check_networks("firewall_ssh_sources", sources)
    yield from _check_ports("firewall_ssh_ports", values["firewall_ssh_ports"])
    if values["firewall_host_policy"] == "strict" and sources == []:
        yield TunnelError(
            "firewall_ssh_sources",
            "is needed with firewall_host_policy: strict, which lets in nothing else: nobody could "
            "log in any more",
            "List the networks from which SSH is allowed, the controller's among them",
        )


def _check_ports(subject: str, ports: Any) -> Iterator[TunnelError]:
    if not isinstance(ports, list) or not ports:
        yield _no_list(subject, ports, "ports")
        return
    for item in ports:
        if not 0 < as_port(item) < 65536:
            yield TunnelError(
                subject, f"{item!r} is not a port", "Use whole numbers from 1 to 65535"
            )


def _check_openings(variable: str, openings: Any, known: tuple[str, ...]) -> Iterator[TunnelError]:
    if not isinstance(openings, list):
        yield TunnelError(
            variable, f"must be a list of maps, is {shape(openings)}", _OPENING_REMEDY
        )
        return
    for index, opening in enumerate(openings):
        yield from _check_opening(f"{variable}[{index}]", opening, known)


def _check_opening(subject: str, opening: Any, known: tuple[str, ...]) -> Iterator[TunnelError]:
    if not isinstance(opening, Mapping):
        yield TunnelError(subject, f"must be a map, is {shape(opening)}", _OPENING_REMEDY)
        return
    for name in opening:
        if name not in known:
            yield TunnelError(subject, f"{name!r} is not known", f"Use {', '.join(known)}")
    missing = [name for name in _REQUIRED if opening.get(name) in (None, [])]
    if missing:
        yield TunnelError(subject, f"{' and '.join(missing)} must be given", _OPENING_REMEDY)
    if "protocol" not in missing and opening["protocol"] not in PROTOCOLS:
        yield TunnelError(
            subject, f"protocol is {opening['protocol']!r}", f"Use {' or '.join(PROTOCOLS)}"
        )
    if "ports" not in missing:
        yield from _check_ports(f"{subject}['ports']", opening["ports"])
    if "networks" not in missing:
        yield from _check_networks(f"{subject}['networks']", opening["networks"])


def _no_list(subject: str, value: Any, what: str) -> TunnelError:
    return TunnelError(
        subject, f"must be a list of {what}, is {shape(value)}", "Write one `- …` per line"
    )
