# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the firewall of an instance has to let through, as elements of nftables sets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall_settings import (
    named_users,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.upstream_settings import (
    allowed_networks,
)

_Network = TypeVar("_Network", IPv4Network, IPv6Network)


def firewall_plan(values: Mapping[str, Any]) -> dict[str, list[str]]:
    """The elements that follow from the checked variables of a host.

    The kernel refuses a set whose intervals overlap, so no two elements of a list do.
    """
    edge = [ip_network(str(item)) for item in values["mcp_tunnel_edge_networks"]]
    return {
        "edge_v4": _elements(item for item in edge if isinstance(item, IPv4Network)),
        "edge_v6": _elements(item for item in edge if isinstance(item, IPv6Network)),
        "upstreams": _upstreams(values),
    }


def firewall_check(values: Mapping[str, Any]) -> dict[str, Any]:
    """What M(mcp_tunnels.stack.host_check) has to look at for the firewall's sake."""
    networks = [str(network) for network in allowed_networks(values)]
    return {
        "resolvers": values["firewall_resolvers"],
        "users": [{"variable": variable, "name": name} for variable, name in named_users(values)],
        "upstreams": [
            {
                "variable": f"mcp_tunnel_routes[{route!r}]",
                "name": urlsplit(upstream).hostname,
                "networks": networks,
            }
            for route, upstream in values["mcp_tunnel_routes"].items()
        ],
    }


def _upstreams(values: Mapping[str, Any]) -> list[str]:
    """``network . port`` of all that a route may mean: a name, any address that may be dialled."""
    by_port: dict[int, list[IPv4Network]] = {}
    for upstream in values["mcp_tunnel_routes"].values():
        parts = urlsplit(upstream)
        try:
            networks = [IPv4Network(str(parts.hostname))]
        except ValueError:
            networks = allowed_networks(values)
        by_port.setdefault(int(parts.port or 0), []).extend(networks)
    return [
        f"{element} . {port}"
        for port, networks in sorted(by_port.items())
        for element in _elements(networks)
    ]


def _elements(networks: Iterable[_Network]) -> list[str]:
    return [
        str(network.network_address if network.prefixlen == network.max_prefixlen else network)
        for network in collapse_addresses(networks)
    ]
