# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rows of a route: the inner TLS of its hostname, and whether its upstream answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import loopback
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica import inner_tls_probe
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica.finding import (
    Finding,
    stranger,
)

_REACH = "From this host, see whether {upstream} can be reached"
_NAME = (
    "On this host, run getent hosts with the name in {upstream}. Correct the name, or run the site "
    "playbook if /etc/resolv.conf has changed"
)
_TLS = "Set proxy_upstream_ca_file, or mend the certificate or the TLS of {upstream}"
_UPSTREAM = "Read the log of {upstream} itself"
_JOURNAL = "Look at journalctl -u {unit}"

#: What to do about an error of the proxy, by its type (RFC 9209 section 2.3).
_REMEDIES = {
    "destination_not_found": "Run the site playbook: the proxy runs with other routes",
    "destination_ip_prohibited": "Add its network to proxy_allowed_ips if {upstream} is intended",
    "destination_ip_unroutable": _REACH,
    "destination_unavailable": _REACH,
    "connection_timeout": _REACH,
    "connection_refused": (
        "Start the server at {upstream}. If it runs, and proxy/refused grows in nft list counters "
        "table inet mcp_tunnel, the firewall refuses: run the site playbook"
    ),
    "connection_terminated": _UPSTREAM,
    "connection_read_timeout": _REACH,
    "dns_error": _NAME,
    "dns_timeout": _NAME,
    "http_protocol_error": _UPSTREAM,
    "http_request_denied": "Run the site playbook: the proxy runs with other route options",
    "http_response_header_section_size": _UPSTREAM,
    "http_response_incomplete": _UPSTREAM,
    "http_response_transfer_coding": _UPSTREAM,
    "proxy_internal_error": _JOURNAL,
    "tls_alert_received": _TLS,
    "tls_certificate_error": _TLS,
    "tls_protocol_error": _TLS,
}


#: Options that refuse what comes too soon: the route works, and others use it.
_BUSY = ("max_in_flight", "rate")
#: In this order: methods that change nothing (RFC 9110 section 9.2.1), and the one in which an MCP
#: server gets all of its messages, of which one without content is none.
_HARMLESS = ("GET", "HEAD", "OPTIONS", "POST")

_USUAL = inner_tls_probe.Wanted()


@dataclass(frozen=True)
class Route:
    """A route: its ``name``, its ``hostname`` in the tunnel, and the URL of its ``upstream``.

    ``wanted`` is what it may be asked for.
    """

    name: str
    hostname: str
    upstream: str
    wanted: inner_tls_probe.Wanted = _USUAL


def wanted(options: Mapping[str, Any]) -> inner_tls_probe.Wanted:
    """The request that is least of a burden, of those that the *options* of a route allow.

    Where they allow none that is harmless, it is one that the proxy refuses.
    """
    methods, paths = (_texts(options.get(name)) for name in ("methods", "paths"))
    path = paths[0] if paths else _USUAL.path
    for method in _HARMLESS:
        if not methods or method in methods:
            return inner_tls_probe.Wanted(method, path)
    return inner_tls_probe.Wanted(path=path, refused_by="methods")


def _texts(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def look(route: Route, port: int, unit: str, ca_certificate: str) -> list[Finding]:
    """The rows of *route*, asked through the proxy *unit*, which listens on *port* of loopback.

    :param ca_certificate: PEM; the proxy's certificate must be signed by it.
    """
    ours = loopback.must_be(unit)
    try:
        answer = inner_tls_probe.request(port, route.hostname, ca_certificate, ours, route.wanted)
    except loopback.Stranger as found:
        return [stranger("proxy", route.hostname, found, unit, "proxy_listen_port")]
    except inner_tls_probe.ProbeError as error:
        remedy = (
            f"Look at journalctl -u {unit}"
            if error.layer == "proxy"
            else "Compare the certificate below /etc/mcp-tunnel/*/tls with the tunnel's CA; the "
            "site playbook makes a new one when it does not fit"
        )
        return [Finding(error.layer, route.hostname, False, str(error), remedy, unit)]
    subject = f"{route.name} -> {route.upstream}"
    if answer.option == "maintenance":
        detail = f"the proxy answers HTTP {answer.status}, on purpose"
        row = Finding("route", subject, True, detail, purpose="maintenance")
    elif answer.option in _BUSY:
        detail = f"the proxy answers HTTP {answer.status}: {answer.option} is reached"
        row = Finding("route", subject, True, detail)
    elif answer.option and answer.option == route.wanted.refused_by:
        reason = f"{answer.option} lets nothing through that could be asked for"
        row = Finding("route", subject, True, f"the proxy answers HTTP {answer.status}: {reason}")
    elif answer.proxy_error:
        detail = answer.body.partition(b"\n")[0].decode("utf-8", "replace")
        remedy = _REMEDIES.get(answer.proxy_error, _JOURNAL)
        remedy = remedy.format(upstream=route.upstream, unit=unit)
        row = Finding("route", subject, False, detail, remedy, unit)
    else:
        row = Finding("route", subject, True, f"answered HTTP {answer.status}")
    return [Finding("inner TLS", route.hostname, True, "verified"), row]
