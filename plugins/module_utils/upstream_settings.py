# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for the upstreams of routes, and for what the proxy may dial."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.names import is_hostname, lower
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.setting_values import (
    Values,
    check_path,
    shape,
    shown,
)

# RFC 1918, what the proxy may dial unless told otherwise (vendor behaviour).
PRIVATE_NETWORKS = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
# Where clouds hand out credentials of the machine: AWS, Azure, GCP and others; AWS to containers
# (ECS, EKS); Azure's platform service; Alibaba.
METADATA_ADDRESSES = tuple(
    IPv4Address(text)
    for text in (
        "169.254.169.254",
        "169.254.170.2",
        "169.254.170.23",
        "168.63.129.16",
        "100.100.100.200",
    )
)

_UPSTREAM = re.compile(r"(https?)://([^/:@?#\[\]\s]+):([0-9]{1,5})")
_UPSTREAM_REMEDY = "Write scheme://host:port, like http://10.20.0.15:8000, without a path"
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----")


def allowed_networks(values: Values) -> list[IPv4Network]:
    """The networks that the proxy may dial.

    :raises TypeError: if *proxy_allowed_ips* is no list.
    :raises ValueError: if one of its items is no IPv4 network.
    """
    if values["proxy_disable_ip_validation"]:
        return [IPv4Network("0.0.0.0/0")]
    allowed = values["proxy_allowed_ips"] or PRIVATE_NETWORKS
    return [IPv4Network(str(item), strict=False) for item in allowed]


def why_not_dialled(address: IPv4Address, allowed: list[IPv4Network]) -> tuple[str, str] | None:
    """Why the proxy may not dial the address, as the rest of a sentence, and the remedy."""
    if address in METADATA_ADDRESSES:
        return (
            "is a cloud's metadata address, which hands out the host's credentials: the firewall "
            "never lets the proxy talk to it",
            "Route to an MCP server instead",
        )
    if not any(address in network for network in allowed):
        return (
            f"is in none of {', '.join(map(str, allowed))}, so the proxy would never dial it",
            "Add its network to proxy_allowed_ips (which replaces the default, the private "
            "networks)",
        )
    return None


def check_upstream(subject: str, upstream: Any, values: Values) -> Iterator[TunnelError]:
    """Whether the upstream of the route *subject* is one, and one that may be dialled."""
    match = _UPSTREAM.fullmatch(upstream) if isinstance(upstream, str) else None
    if not match:
        # A value with user and password in it must not be repeated.
        is_shown = isinstance(upstream, str) and "@" not in upstream and len(upstream) < 300
        given = repr(upstream) if is_shown else shape(upstream)
        yield TunnelError(subject, f"invalid upstream {given}", _UPSTREAM_REMEDY)
        return
    scheme, host, port = match.group(1), lower(match.group(2)), int(match.group(3))
    if not 0 < port < 65536:
        yield TunnelError(subject, f"has port {port}", "Use a port between 1 and 65535")
    if re.fullmatch(r"[0-9.]+", host):
        yield from _check_upstream_address(subject, host, values)
    elif not is_hostname(host.replace("_", "-")):
        yield TunnelError(subject, f"{shown(host)!r} is not a host name", _UPSTREAM_REMEDY)
    trusted = values["proxy_upstream_ca"] or values["proxy_upstream_ca_file"]
    if scheme == "https" and not trusted and not values["proxy_upstream_include_system_cas"]:
        yield TunnelError(
            subject,
            "is https, but nothing says which CA to trust",
            "Set proxy_upstream_ca (PEM), proxy_upstream_ca_file (path on the host) or "
            "proxy_upstream_include_system_cas: true",
        )


def _check_upstream_address(subject: str, host: str, values: Values) -> Iterator[TunnelError]:
    try:
        address = IPv4Address(host)
    except ValueError:
        yield TunnelError(subject, f"{shown(host)!r} is not an IPv4 address", _UPSTREAM_REMEDY)
        return
    try:
        networks = allowed_networks(values)
    except (TypeError, ValueError):
        return  # reported where proxy_allowed_ips is checked
    reason = why_not_dialled(address, networks)
    if reason:
        yield TunnelError(subject, f"{host} {reason[0]}", reason[1])


def check_upstream_policy(values: Values) -> Iterator[TunnelError]:
    """Whether the variables about what may be dialled fit together."""
    allowed = values["proxy_allowed_ips"]
    if not isinstance(allowed, (list, tuple)):
        yield TunnelError(
            "proxy_allowed_ips",
            f"must be a list of IPv4 networks, is {shape(allowed)}",
            "Write one `- 10.0.0.0/8` per line",
        )
        return
    for item in allowed:
        try:
            # Masks (10.0.0.0/255.0.0.0) are nothing that systemd and nft understand as well.
            if not re.fullmatch(r"[0-9.]{7,15}(/[0-9]{1,2})?", str(item)):
                raise ValueError
            IPv4Network(str(item), strict=False)
        except ValueError:
            yield TunnelError(
                "proxy_allowed_ips",
                f"{shown(item)!r} is not an IPv4 address or network",
                "Write it like 10.1.2.3 or 10.0.0.0/8; only IPv4 is dialled",
            )
    if allowed and values["proxy_disable_ip_validation"]:
        yield TunnelError(
            "proxy_allowed_ips",
            "cannot be combined with proxy_disable_ip_validation",
            "Keep one of them; better the list",
        )
    if values["proxy_upstream_ca_file"]:
        try:
            check_path(values["proxy_upstream_ca_file"], "proxy_upstream_ca_file")
        except TunnelError as error:
            yield error
    if values["proxy_upstream_ca"] and values["proxy_upstream_ca_file"]:
        yield TunnelError(
            "proxy_upstream_ca",
            "cannot be combined with proxy_upstream_ca_file",
            "Keep one of them",
        )


def check_upstream_ca(values: Values) -> Iterator[TunnelError]:
    """Whether a TLS client could trust *proxy_upstream_ca*."""
    text = values["proxy_upstream_ca"]
    if not text:
        return
    if "PRIVATE KEY-----" in str(text):
        yield TunnelError("proxy_upstream_ca", "holds a private key", "Give the certificates only")
        return
    begins = str(text).count("-----BEGIN CERTIFICATE-----")
    certificates = _CERTIFICATE.findall(str(text))
    if not begins:
        problem = f"must hold PEM certificates, is {shape(text)}"
    elif len(certificates) < begins or not _can_be_trusted("\n".join(certificates)):
        problem = f"cannot be read as PEM certificates, is {shape(text)}"
    else:
        return
    yield TunnelError(
        "proxy_upstream_ca",
        problem,
        "Use for example lookup('ansible.builtin.file', 'upstream-ca.crt')",
    )


def _can_be_trusted(certificates: str) -> bool:
    """Whether a TLS client, as the proxy is one, can load the certificates as its CAs."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=certificates)
    except (ssl.SSLError, ValueError):
        return False
    return True
