# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Host names of a tunnel: rules for their form, and for the names that a certificate covers."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.values import shown

# RFC 1123 section 2.1: letters, digits and hyphens, at most 63 octets a label.
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
# Names of routes are those that the proxy takes: DNS and wildcards allow underscores, too.
_ROUTE_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")

_LONGEST = 253  # characters of a whole name


def lower(name: str) -> str:
    """The name in lower case; one with characters beyond ASCII stays as it is, and is no host name.

    Lower case makes ASCII of some others: of the Kelvin sign, a k.
    """
    return name.lower() if name.isascii() else name


def is_hostname(name: str) -> bool:
    """Whether this lower-case name is a host name by RFC 1123."""
    return len(name) <= _LONGEST and all(_LABEL.fullmatch(label) for label in name.split("."))


def check_domain(text: str, subject: str = "domain") -> str:
    """Returns the domain of a tunnel in lower case.

    Nothing else is repaired, so a user of *text* itself gets the same name, perhaps in another
    case.

    :raises TunnelError: if it is not a domain name of at least two labels, the last one no number
        (RFC 3696 section 2: that would be an address).
    """
    domain = lower(text)
    if "." not in domain or not is_hostname(domain) or domain.rpartition(".")[2].isdecimal():
        raise TunnelError(
            subject,
            "is not a domain name",
            "Give the tunnel's domain as the Console shows it, like abcd1234.tunnel.anthropic.com, "
            "without scheme, port, path or wildcard",
        )
    return domain


def route_hostname(route: str, domain: str, subject: str = "routes") -> str:
    """Returns the host name of a route's key: a single label, the domain, or a name inside it.

    :param domain: empty while the tunnel is still to be created; single labels are then returned.
    :raises TunnelError: if the key is not a host name, lies outside the domain or, with it, has
        more than 253 characters.
    """
    name = lower(route)
    if not _is_route(name):
        raise TunnelError(
            subject,
            f"{shown(route)!r} is not a host name",
            "Use letters, digits and hyphens, like echo",
        )
    if "." not in name:
        hostname = f"{name}.{domain}" if domain else name
        if is_hostname(domain) and not _is_route(hostname):
            raise TunnelError(
                subject,
                f"{route!r} and the tunnel's domain together have more than {_LONGEST} characters",
                "Use a shorter name",
            )
        return hostname
    if not domain:
        raise TunnelError(
            subject,
            f"{route!r} is a full name, and the tunnel's domain is not given",
            "Use a single label like echo, or set mcp_tunnel_domain",
        )
    if name != domain and not name.endswith(f".{domain}"):
        raise TunnelError(
            subject,
            f"{route!r} lies outside the tunnel's domain {domain}",
            f"Use a single label like echo, or a name that ends in .{domain}",
        )
    return name


def _is_route(name: str) -> bool:
    return len(name) <= _LONGEST and all(map(_ROUTE_LABEL.fullmatch, name.split(".")))


def wanted_names(domain: str, routes: Iterable[str] = (), subject: str = "routes") -> list[str]:
    """Names for a certificate of our own: wildcard, bare domain, and routes that these leave out.

    :raises TunnelError: if the domain or a route's key is wrong.
    """
    domain = check_domain(domain)
    names = [f"*.{domain}", domain]
    hosts = {route_hostname(route, domain, subject) for route in routes}
    return names + sorted(host for host in hosts if not covers(names, host))


def covers(names: Iterable[str], hostname: str) -> bool:
    """Whether one of a certificate's names matches the host name, by RFC 6125 section 6.4.3:

    a wildcard stands for exactly one label, the leftmost one.
    """
    _label, _dot, parent = hostname.partition(".")
    return any(name.lower() in (hostname, f"*.{parent}") for name in names)
