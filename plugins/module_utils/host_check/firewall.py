# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks what the firewall's variables mean on a host, and what is wrong with that. Reads only."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.dialling import why_not_dialled
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host_check import nft_support

# A name server that does not answer costs 10 s and more for each name.
_LOOKUPS_AT_A_TIME = 16


def problems(asked: dict[str, Any], resolvers: list[str], accounts: list[str]) -> list[str]:
    """All reasons for which the host cannot have the firewall, each with the remedy.

    :param asked: the option ``firewall`` of M(mcp_tunnels.stack.host_check).
    :param resolvers: addresses of the name servers that the host uses.
    :param accounts: the users that the host knows by itself, from passwd(5).
    """
    return [
        *nft_support.lacks(),
        *_without_resolver(asked["resolvers"], resolvers),
        *(
            f"{user['variable']}: {user['name']} is no account of the host itself (/etc/passwd). "
            "Make the account first, or correct the name; one of a directory service will not do, "
            "as the rules are loaded at boot before the network"
            for user in asked["users"]
            if user["name"] not in accounts
        ),
        *_not_dialled(asked["upstreams"]),
    ]


def _without_resolver(given: list[str], resolvers: list[str]) -> Iterator[str]:
    if not given and not resolvers:
        yield (
            "firewall_resolvers: /etc/resolv.conf names no name server, so the services could "
            "resolve nothing. Set the variable, or name one there (nameserver 10.0.0.53)"
        )


def _not_dialled(upstreams: list[dict[str, Any]]) -> Iterator[str]:
    """Problems with upstreams whose names lead to addresses that the proxy would not dial.

    A name that does not resolve is no mistake here: its server may come later, and until then the
    health check reports it.
    """
    names = sorted({upstream["name"] for upstream in upstreams})
    with ThreadPoolExecutor(_LOOKUPS_AT_A_TIME) as pool:
        found = dict(zip(names, pool.map(addresses, names)))
    for upstream in upstreams:
        allowed = [IPv4Network(network) for network in upstream["networks"]]
        for address in found[upstream["name"]]:
            reason = why_not_dialled(address, allowed)
            if reason:
                yield (
                    f"{upstream['variable']}: on the host, {upstream['name']} is {address}, which "
                    f"{reason[0]}. {reason[1]}"
                )


def addresses(name: str) -> list[IPv4Address]:
    """The IPv4 addresses of a name, as the proxy would find them; none if it does not resolve."""
    try:
        found = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return sorted({IPv4Address(entry[4][0]) for entry in found})
