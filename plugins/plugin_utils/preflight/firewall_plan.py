# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The traffic that an instance's firewall has to let through, as elements of nftables sets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from typing import Any, TypeVar

from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight.firewall import (
    named_users,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight.routes import (
    dialled_networks,
)
from ansible_collections.mcp_tunnels.stack.proxy_src.src.mcp_proxy.config.model import Config

_Network = TypeVar("_Network", IPv4Network, IPv6Network)


def firewall_plan(values: Mapping[str, Any], config: Config) -> dict[str, list[str]]:
    """The elements that follow from the checked variables of a host, and its proxy's *config*.

    The kernel refuses a set whose intervals overlap, so no two elements of a list do.
    """
    edge = [ip_network(str(item)) for item in values["mcp_tunnel_edge_networks"]]
    return {
        "edge_v4": _elements(item for item in edge if isinstance(item, IPv4Network)),
        "edge_v6": _elements(item for item in edge if isinstance(item, IPv6Network)),
        "upstreams": _upstreams(config),
    }


def firewall_check(values: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """The arguments that tell M(mcp_tunnels.stack.host_check) what to check for the firewall."""
    networks = [str(network) for network in dialled_networks(config)]
    return {
        "resolvers": values["firewall_resolvers"],
        "users": [{"variable": variable, "name": name} for variable, name in named_users(values)],
        "upstreams": [
            {
                "variable": f"mcp_tunnel_routes[{route!r}]",
                "name": upstream.host,
                "networks": networks,
            }
            for route, upstream in config.routes.items()
        ],
    }


def _upstreams(config: Config) -> list[str]:
    """``network . port`` of all routes; a name stands for any address that may be dialled."""
    by_port: dict[int, list[IPv4Network]] = {}
    for upstream in config.routes.values():
        try:
            networks = [IPv4Network(upstream.host)]
        except ValueError:
            networks = dialled_networks(config)
        by_port.setdefault(upstream.port, []).extend(networks)
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
