# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for routes that the proxy's own do not have: of Ansible, the firewall and the plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.dialling import why_not_dialled
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.values import (
    Values,
    shape,
    shown,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight.proxy_config import Judged
from ansible_collections.mcp_tunnels.stack.proxy_src.src.mcp_proxy.config.model import Config
from ansible_collections.mcp_tunnels.stack.proxy_src.src.mcp_proxy.config.rules import route_key

VARIABLE = "mcp_tunnel_routes"
_REQUIRED = "mcp_tunnel_required_routes"
_ALL = "all"


def check_routes(values: Values, judged: Judged) -> Iterator[TunnelError]:
    """Everything that is wrong with the routes and unknown to the proxy."""
    routes = values[VARIABLE]
    if not isinstance(routes, Mapping) or not routes:
        yield TunnelError(
            VARIABLE,
            f"must be a map of names to upstreams, is {shape(routes)}",
            "Write below it, indented, one `name: scheme://host:port` per line",
        )
        return
    yield from _check_names(routes, values["mcp_tunnel_domain"] == "")
    yield from _check_pairs(judged)
    yield from _check_addresses(judged)
    yield from _check_required(values, judged)


def required_routes(values: Values, routes: list[str]) -> list[str]:
    """Names of the routes whose upstreams must answer, of all *routes*."""
    wanted = {route_key(name) for name in values[_REQUIRED]}
    return [name for name in routes if _ALL in wanted or name in wanted]


def allowed_requests(config: Config) -> dict[str, dict[str, list[str]]]:
    """The paths and methods that the proxy lets through, of each route that does not take all."""
    return {
        name: {"paths": list(own.paths), "methods": list(own.methods)}
        for name, own in config.route_options.items()
        if own.paths or own.methods
    }


def dialled_networks(config: Config) -> list[IPv4Network]:
    """The networks that the proxy may dial."""
    if config.upstream.disable_ip_validation:
        return [IPv4Network("0.0.0.0/0")]
    return list(config.upstream.allowed_ips)


def _check_names(routes: Mapping[Any, Any], is_single: bool) -> Iterator[TunnelError]:
    """Whether the names can be meant; *is_single* without a domain that they could lie in."""
    for name in routes:
        if not isinstance(name, str):
            # YAML's `1:` and `on:` are no texts: the original spelling is lost.
            yield TunnelError(VARIABLE, f"{name!r} is {shape(name)}", "Put the name in quotes")
        elif is_single and "." in name.rstrip("."):
            yield TunnelError(
                f"{VARIABLE}[{shown(name)!r}]",
                "is a full name, and the tunnel's domain is not given",
                "Use a single label like echo, or set mcp_tunnel_domain",
            )


def _check_required(values: Values, judged: Judged) -> Iterator[TunnelError]:
    wanted = values[_REQUIRED]
    # Of another type, the type's own rule says so.
    unknown = [
        name
        for name in (wanted if isinstance(wanted, list) else [])
        if isinstance(name, str) and route_key(name) not in (_ALL, *judged.config.routes)
    ]
    if unknown and judged.config.routes:
        yield TunnelError(
            _REQUIRED,
            f"names {shown(unknown[0])!r}, which is no route",
            f"Use names of {VARIABLE}, or {_ALL}",
        )


def _check_pairs(judged: Judged) -> Iterator[TunnelError]:
    domain = judged.domain
    for name in judged.config.routes:
        bare = name[: -len(domain) - 1]
        if domain and name.endswith(f".{domain}") and bare in judged.config.routes:
            yield TunnelError(
                f"{VARIABLE}[{name!r}]",
                f"means the same hostname as {bare!r}, which would never be asked",
                "Keep one of the two",
            )


def _check_addresses(judged: Judged) -> Iterator[TunnelError]:
    if any(problem.subject.startswith("proxy_allowed_ips") for problem in judged.problems):
        return  # told, and the networks are not known
    networks = dialled_networks(judged.config)
    for name, upstream in judged.config.routes.items():
        try:
            address = IPv4Address(upstream.host)
        except ValueError:
            continue
        reason = why_not_dialled(address, networks)
        if reason:
            yield TunnelError(
                f"{VARIABLE}[{shown(name)!r}]", f"{upstream.host} {reason[0]}", reason[1]
            )
