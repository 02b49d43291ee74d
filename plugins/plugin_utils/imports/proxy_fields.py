# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration of the vendor's proxy, and our variables for its fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.values import shown

#: The vendor's fields (its reference, proxy configuration) and the variables that take their value.
VARIABLES = {
    "log_level": "proxy_log_level",
    "shutdown_timeout": "proxy_shutdown_timeout",
    "tunnel_domain": "mcp_tunnel_domain",
    "routes": "mcp_tunnel_routes",
    "upstream.allowed_ips": "proxy_allowed_ips",
    "upstream.disable_ip_validation": "proxy_disable_ip_validation",
    "upstream.tls.include_system_cas": "proxy_upstream_include_system_cas",
}
#: Names a file in the container; its content becomes a variable.
CA_FILE = "upstream.tls.ca_file"
#: The fields that each host has a value of its own for, and the reason.
_OF_THE_HOST = {
    "listen_addr": "proxies here listen on loopback alone, on proxy_listen_port",
    "tls.cert_file": "each replica has a certificate of its own",
    "tls.key_file": "each replica makes a key of its own",
}
_SECTIONS = ("tls", "upstream", "upstream.tls")


@dataclass
class Translated:
    """The fields of a configuration.

    Attributes:
        variables: our variables, by name.
        ca_file: the path of CAs for upstreams, in the container; empty without one.
        left: the fields that were not taken over, each with the reason.
        problems: those that cannot be.
    """

    variables: dict[str, Any] = field(default_factory=dict)
    ca_file: str = ""
    left: list[str] = field(default_factory=list)
    problems: list[TunnelError] = field(default_factory=list)


def translate(config: Mapping[str, Any], where: str) -> Translated:
    """Our variables for a configuration.

    :param where: its file, for messages.
    """
    result = Translated()
    for name, value in _fields(config, "", where, result.problems):
        if value is None:
            continue  # to the vendor's proxy as well, it is not set
        if name in VARIABLES:
            result.variables[VARIABLES[name]] = value
        elif name in _OF_THE_HOST:
            result.left.append(f"{where}: {name} was not taken over: {_OF_THE_HOST[name]}.")
        elif name == CA_FILE and isinstance(value, str):
            result.ca_file = value
        else:
            result.problems.append(_unknown(name, where))
    return result


def _fields(
    section: Mapping[str, Any], prefix: str, where: str, problems: list[TunnelError]
) -> Iterator[tuple[str, Any]]:
    for key, value in section.items():
        name = f"{prefix}{key}"
        if name not in _SECTIONS or value is None:
            yield name, value
        elif isinstance(value, Mapping):
            yield from _fields(value, f"{name}.", where, problems)
        else:
            remedy = "Copy the configuration of the proxy again"
            problems.append(TunnelError(f"{where}: {name}", "is no map of fields", remedy))


def _unknown(name: str, where: str) -> TunnelError:
    return TunnelError(
        f"{where}: {shown(name)}",
        "has no counterpart here, so replicas would behave in another way",
        "Look for what it does in docs/proxy.md of the collection; take it out of the copy, and "
        "set the variable that does it beside the imported ones",
    )
