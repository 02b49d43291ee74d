# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the connector is connected, and whether it sends requests to our proxy.

Only ``/ready`` says the first: the metric ``ha_connections`` counts attempts.
``/config`` says the second: rules of a foreign configuration file, or ones that the edge has
pushed, win over our ``--url``, and all connections stay up. Vendor reference, section 8.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import loopback, systemd
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica.finding import (
    Finding,
    stranger,
)

CONNECTIONS = 4  # of one cloudflared process to the edge: vendor behaviour
_PORT_VARIABLE = "cloudflared_metrics_port"
_LONGEST = 200  # characters of what somebody else says
_OWN_VERSION = -1  # of rules that no edge has pushed
# In the connector's own words: the beginning of a start, and failures over UDP and over TCP.
_START = "Starting tunnel tunnelID="
_NO_UDP = "Failed to dial a quic connection"
_NO_TCP = "Unable to establish connection with Cloudflare edge"
_JOURNAL_LINES = 100
# Of an answer that is not the wanted one: also Infinity for a number, and thousands of brackets.
_NOT_SUCH = (ValueError, KeyError, TypeError, OverflowError, RecursionError)

# Settings of a rule that change where its requests end, as whose, or whether they arrive. With none
# of its own, a rule shows them all, empty but for one. Others are times and numbers of connections.
_LEADING = (
    "httpHostHeader", "originServerName", "matchSNItoHost", "caPool", "noTLSVerify",
    "disableChunkedEncoding", "bastionMode", "proxyAddress", "proxyPort", "proxyType", "ipRules",
    "http2Origin", "access",
)  # fmt: skip
_AS_USUAL = {"proxyAddress": "127.0.0.1"}

_UNREACHED = (
    "Let this host reach the tunnel edge on port 7844 (TCP and UDP) and its DNS names; if the "
    "journal says `Invalid tunnel secret`, the token was rotated: give the new one"
)
_STOPPED = "Start {unit}, as its own row says: while it is stopped, nothing asks the edge"
_WITHOUT_UDP = (
    "Let UDP port 7844 through to the tunnel edge, or set cloudflared_protocol: http2, which needs "
    "TCP alone"
)
_FILE = (
    "Look for a configuration file of cloudflared on this host or for a changed unit: systemctl "
    "cat {unit}"
)
_PUSHED = (
    "The edge has pushed these rules: remove the configuration of this tunnel where it is managed "
    "(routes or public hostnames of the tunnel), then restart {unit}; if nobody has set it, rotate "
    "the token"
)


def connector(unit: str, metrics_port: int, listen_port: int) -> list[Finding]:
    """The rows about the connector *unit*: its connections, and where requests go."""
    edge = _edge(unit, metrics_port)
    answered, ingress = _ingress(unit, metrics_port, f"http://127.0.0.1:{listen_port}")
    # If it does not answer at all, an earlier row says so already.
    return [edge, ingress] if answered else [edge]


def _edge(unit: str, port: int) -> Finding:
    url = f"http://127.0.0.1:{port}/ready"
    try:
        status, body = loopback.get(port, "/ready", unit)
    except loopback.Stranger as found:
        return stranger("edge", url, found, unit, _PORT_VARIABLE)
    try:
        ready = int(json.loads(body)["readyConnections"])
    except _NOT_SUCH:
        stopped = not status and systemd.show([unit])[0].stopped
        remedy = _remedy(_STOPPED, unit) if stopped else _UNREACHED
        return Finding("edge", url, False, body.strip()[:_LONGEST], remedy, unit)
    detail = f"{ready} of {CONNECTIONS} connections"
    if not ready and only_udp_fails(systemd.journal(unit, _JOURNAL_LINES)):
        detail += ", and UDP does not reach the edge"
        return Finding("edge", url, False, detail, _WITHOUT_UDP, unit)
    return Finding("edge", url, ready >= CONNECTIONS, detail, _UNREACHED, unit)


def only_udp_fails(lines: Sequence[str]) -> bool:
    """Whether the connector has said since its start that UDP fails, and not that TCP does."""
    starts = [number for number, line in enumerate(lines) if _START in line]
    recent = lines[starts[-1] :] if starts else lines
    return any(_NO_UDP in line for line in recent) and not any(_NO_TCP in line for line in recent)


def _ingress(unit: str, port: int, origin: str) -> tuple[bool, Finding]:
    """Whether there was an answer, and the row about the rules in force."""
    url = f"http://127.0.0.1:{port}/config"
    try:
        status, body = loopback.get(port, "/config", unit)
    except loopback.Stranger:
        return False, Finding("ingress", url, False, "", "", unit)
    if status != 200:
        detail = f"HTTP {status}: {body.strip()[:_LONGEST]}"
        return bool(status), Finding("ingress", url, False, detail, _remedy(_FILE, unit), unit)
    try:
        shown = json.loads(body)
        everywhere = shown["config"].get("originRequest")
        problem = "; ".join(rule_problems(shown["config"]["ingress"], origin, everywhere))
        pushed = int(shown["version"]) != _OWN_VERSION
    except (*_NOT_SUCH, AttributeError):
        problem, pushed = f"not a configuration: {body.strip()[:_LONGEST]}", False
    remedy = _remedy(_PUSHED if pushed else _FILE, unit)
    return True, Finding("ingress", url, not problem, problem or f"all to {origin}", remedy, unit)


def rule_problems(
    rules: Sequence[dict[str, Any]], origin: str, everywhere: dict[str, Any] | None = None
) -> Iterator[str]:
    """Why these ingress rules do not lead everything to *origin*, unchanged, by one rule.

    *everywhere*: the ``originRequest`` of the configuration, for rules that have none.

    :raises KeyError, TypeError, AttributeError: if they are no rules.
    """
    if len(rules) != 1:
        yield f"{len(rules)} rules instead of one"
    for rule in rules:
        service = str(rule["service"])[:_LONGEST]
        if rule.get("hostname") not in (None, "", "*") or rule.get("path"):
            yield f"a rule for some requests only leads to {service}"
        elif service != origin:
            yield f"requests go to {service}, not to {origin}"
        settings = rule.get("originRequest")
        changed = changed_settings((everywhere if settings is None else settings) or {})
        if changed:
            yield f"originRequest of the rule to {service} sets {', '.join(changed)}"


def changed_settings(settings: dict[str, Any]) -> list[str]:
    """The settings of an ``originRequest`` that redirect requests, or change them on the way."""
    return [
        name
        for name in _LEADING
        if settings.get(name) != _AS_USUAL.get(name) and _says_something(settings.get(name))
    ]


def _says_something(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_says_something, value.values()))
    return bool(value)


def _remedy(text: str, unit: str) -> str:
    return text.format(unit=unit)
