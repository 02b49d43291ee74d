"""The rules for each field of the configuration: what it may be, and what to say if it is not."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import fields
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, ip_address
from types import MappingProxyType

from .model import (
    PRIVATE_NETWORKS,
    Address,
    Limits,
    MetricsSources,
    RouteOptions,
    Timeouts,
    Tls,
    Upstream,
    UpstreamPolicy,
)
from .reader import Section, shown

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOSTNAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\Z")
# A tunnel's domain is one that certificates and the vendor's API take, too: RFC 1123 §2.1, two
# labels at least, and the last one no number, which would be an address (RFC 3696 §2).
_STRICT_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"(?=.{{1,253}}\Z)(?:{_STRICT_LABEL}\.)+(?![0-9]+\Z){_STRICT_LABEL}\Z")
_PORT = re.compile(r"(?:0|[1-9][0-9]{0,4})\Z")
# No masks, which Go, systemd and nft do not take for a length.
_NETWORK = re.compile(r"[0-9.]{7,15}(?:/(?:[0-9]|[12][0-9]|3[0-2]))?\Z")
_UPSTREAM = re.compile(r"(https?)://([^/:@?#\[\]\s]+):([0-9]{1,5})\Z")
# A password has no place in a message, wherever somebody put it.
_USERINFO = re.compile(r"\A([a-z]{1,9}://)?.*@", re.DOTALL)
_INVALID_UPSTREAM = "invalid upstream (must be scheme://host:port)"
_MAX_WORKERS = 256
# "Tool names" of MCP's specification, revision 2025-11-25, and the slash of SEP-986.
_TOOL = re.compile(r"[A-Za-z0-9_./-]{1,128}\Z")
_MAX_TOOLS = 100
_LIMIT_RANGES = {
    "max_connections": (1, 1_000_000),
    "max_header_bytes": (1024, 1 << 20),
    "max_streams": (1, 1000),
}
_METRICS_EXAMPLES = {
    "firewall_counters_file": "/run/mcp-tunnel/firewall-counters.json",
    "connections_file": "/run/mcp-tunnel/connections-default.json",
}


def lower(name: str) -> str:
    """A name in lower case; one beyond ASCII stays as it is: lower case makes a Kelvin sign a k."""
    return name.lower() if name.isascii() else name


def route_key(name: str) -> str:
    """The key of a route as it is looked up: in lower case, without a trailing dot."""
    return _without_dot(lower(name))


def _without_dot(name: str) -> str:
    return name[:-1] if name.endswith(".") else name


def listener(top: Section, name: str, text: str) -> Address:
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    valid = colon and _PORT.match(port) and int(port) < 65536 and _is_host(host, bracketed)
    if text and not valid:
        top.problem(
            name,
            f"must be host:port, not {shown(text)}",
            'write e.g. "127.0.0.1:8080", or ":8080" for all interfaces',
        )
    return Address(host, int(port)) if valid else Address("", 0)


def _is_host(host: str, bracketed: bool) -> bool:
    if not bracketed:
        return not host or _HOSTNAME.match(lower(host)) is not None
    try:
        IPv6Address(host)
    except AddressValueError:
        return False
    return True


def admin(top: Section, listen: Address) -> Address | None:
    text = top.text("admin_addr")
    if text == "":
        return None
    if text is None:
        text = "127.0.0.1:8081"
    address = listener(top, "admin_addr", text)
    if address.port and address.port == listen.port:
        top.problem(
            "admin_addr",
            f"port {address.port} is the port of listen_addr",
            "give one of them another port",
        )
    if not _is_loopback(address.host):
        top.problem(
            "admin_addr",
            f"{text} is not a loopback address",
            'use 127.0.0.1:PORT, or "" to switch it off',
        )
    return address


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def tls(top: Section) -> Tls:
    section = top.section("tls", [item.name for item in fields(Tls)])
    cert_file = section.required_text("cert_file", "give the path of the server certificate (PEM)")
    key_file = section.required_text(
        "key_file", "give the path of the server certificate's key (PEM)"
    )
    section.readable_file("cert_file", cert_file)
    section.readable_file("key_file", key_file)
    return Tls(cert_file, key_file, section.seconds("poll_interval", Tls.poll_interval))


def tunnel_domain(top: Section) -> str:
    given = top.text("tunnel_domain") or ""
    text = _without_dot(lower(given))
    if given and not _DOMAIN.match(text):
        top.problem(
            "tunnel_domain",
            f"not a domain name: {shown(given)}",
            "write e.g. abcd1234.tunnel.anthropic.com",
        )
        return ""
    return text


def policy(top: Section) -> UpstreamPolicy:
    section = top.section(
        "upstream", ("allowed_ips", "disable_ip_validation", "tls", "rewrite_host")
    )
    networks = _allowed_ips(section)
    disabled = section.flag("disable_ip_validation")
    if disabled and section.texts("allowed_ips"):
        section.problem(
            "disable_ip_validation",
            "cannot be combined with upstream.allowed_ips",
            "keep one of them",
        )
    tls = section.section("tls", ("ca_file", "include_system_cas"))
    ca_file = tls.text("ca_file") or ""
    tls.readable_file("ca_file", ca_file)
    return UpstreamPolicy(
        networks, disabled, ca_file, tls.flag("include_system_cas"), section.flag("rewrite_host")
    )


def _allowed_ips(section: Section) -> tuple[IPv4Network, ...]:
    networks = []
    for number, text in enumerate(section.texts("allowed_ips")):
        try:
            if not _NETWORK.match(text):
                raise ValueError(text)
            networks.append(IPv4Network(text, strict=False))
        except ValueError:
            section.problem(
                f"allowed_ips[{number}]",
                f"not an IPv4 address or network: {shown(text)}",
                "write e.g. 10.1.2.3 or 10.0.0.0/8; only IPv4 is dialled",
            )
    return tuple(networks) or PRIVATE_NETWORKS


def timeouts(top: Section) -> Timeouts:
    names = [item.name for item in fields(Timeouts)]
    section = top.section("timeouts", names)
    return Timeouts(**{name: section.seconds(name, getattr(Timeouts, name)) for name in names})


def limits(top: Section) -> Limits:
    section = top.section("limits", list(_LIMIT_RANGES))
    return Limits(
        **{
            name: section.integer(name, getattr(Limits, name), *bounds)
            for name, bounds in _LIMIT_RANGES.items()
        }
    )


def workers(top: Section) -> int:
    # As many as could work at the same time: what the service manager or a container allows.
    cores = min(len(os.sched_getaffinity(0)), _MAX_WORKERS)
    return top.integer("workers", 0, 0, _MAX_WORKERS) or cores


def mcp_tools(top: Section) -> tuple[str, ...]:
    tools = top.texts("mcp_tools")
    if len(tools) > _MAX_TOOLS:
        remedy = "name those whose figures you look at: each makes series for every route"
        top.problem("mcp_tools", f"{len(tools)} tools, and {_MAX_TOOLS} at most", remedy)
    for number, tool in enumerate(tools):
        where = f"mcp_tools[{number}]"
        if not _TOOL.match(tool):
            remedy = "use the name that clients call it by: letters, digits and _ . / -"
            top.problem(where, f"not a tool's name: {shown(tool)}", remedy)
        elif tool == "other":
            remedy = "remove it: other stands for all tools that are not named"
            top.problem(where, "cannot be told from the others", remedy)
        elif tool in tools[:number]:
            top.problem(where, f"{shown(tool)} is named before", "keep one of them")
    return tuple(tools)


def metrics(top: Section) -> MetricsSources:
    section = top.section("metrics", list(_METRICS_EXAMPLES))
    # Not readable_file(): they are written while the machine runs, so they may come later.
    paths = {name: section.text(name) or "" for name in _METRICS_EXAMPLES}
    for name, path in paths.items():
        if path and not path.startswith("/"):
            section.problem(
                name,
                f"must be an absolute path, not {shown(path)}",
                f"write e.g. {_METRICS_EXAMPLES[name]}",
            )
    return MetricsSources(**paths)


def routes(top: Section, domain: str) -> Mapping[str, Upstream]:
    before = len(top.report.problems)
    section = top.section("routes")
    routes: dict[str, Upstream] = {}
    for name in section.names():
        key = route_key(name)
        _check_key(section, name, key, domain, top.is_set("tunnel_domain"))
        if key in routes:
            section.problem(
                name,
                "the same hostname as another route",
                "hostnames ignore case; keep one of them",
            )
        upstream = _upstream(section, name)
        if upstream is not None:
            routes[key] = upstream
    if not routes and len(top.report.problems) == before:
        top.problem(
            "routes",
            "required, but empty",
            "write at least one `name: scheme://host:port` below it",
        )
    return MappingProxyType(routes)


def trust(
    top: Section,
    routes: Mapping[str, Upstream],
    options: Mapping[str, RouteOptions],
    policy: UpstreamPolicy,
) -> None:
    """Report each of *routes* whose upstream is https and could be anybody."""
    if policy.ca_file or policy.include_system_cas:
        return
    section = "routes."
    for name in [name for name in top.report.lines if name.startswith(section)]:
        key = route_key(name[len(section) :])
        upstream = routes.get(key)
        own = options.get(key)
        if upstream and upstream.scheme == "https" and not (own and own.ca_file):
            top.problem(
                name,
                f"{upstream} is https, but nothing says whom to trust",
                "set upstream.tls.ca_file, or upstream.tls.include_system_cas: true",
            )


def _check_key(section: Section, name: str, key: str, domain: str, is_given: bool) -> None:
    """Report a *key* that is no hostname, or none of *domain*, empty if the one given is wrong."""
    if not _HOSTNAME.match(key):
        section.problem(
            name,
            "not a hostname",
            "use a subdomain (echo) or a full hostname, without scheme, port or path",
        )
    elif "." not in key and not is_given:
        section.problem(
            name, "a bare name needs tunnel_domain", "set tunnel_domain, or write the full hostname"
        )
    elif "." not in key and domain and not _HOSTNAME.match(f"{key}.{domain}"):
        section.problem(name, "longer than 253 characters with tunnel_domain", "use a shorter name")
    elif domain and "." in key and key != domain and not key.endswith(f".{domain}"):
        section.problem(
            name,
            f"outside tunnel_domain {domain}",
            f"use a bare name, or one that ends in .{domain}",
        )


def _upstream(section: Section, name: str) -> Upstream | None:
    text = section.text(name)
    if text is None and not section.is_null(name):
        return None  # not a single value, and reported as such
    what = f"{_INVALID_UPSTREAM}: {shown(_USERINFO.sub(_hidden_user, text or ''))}"
    match = _UPSTREAM.match(text or "")
    if not match:
        section.problem(name, what, "give scheme http or https, host and port, and no path")
        return None
    scheme, host, port = match.group(1), lower(match.group(2)), int(match.group(3))
    if not 0 < port < 65536:
        section.problem(name, what, "a port lies between 1 and 65535")
    elif reason := why_no_host(host):
        section.problem(name, what, reason)
    return Upstream(scheme, host, port)


def why_no_host(host: str) -> str:
    """Why nothing can be called *host*, ``""`` if it is a lower-case name or an IPv4 address."""
    if not _HOSTNAME.match(host):
        return "the host is neither a hostname nor an IPv4 address"
    if host.rpartition(".")[2].isdecimal() and not _is_ipv4(host):
        return "write an IPv4 address as four decimal numbers"
    return ""


def _hidden_user(found: re.Match[str]) -> str:
    return f"{found[1] or ''}***@"


def _is_ipv4(host: str) -> bool:
    try:
        IPv4Address(host)
    except AddressValueError:
        return False
    return True
