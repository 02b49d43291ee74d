# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the proxy of a replica has counted, for the comparison with other replicas.

Its page of metrics is read here with a few lines of our own: a host's Python has no library for the
format, and the series in question have no escapes that matter.
See https://prometheus.io/docs/instrumenting/exposition_formats/.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import loopback
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica.records import (
    TRAFFIC,
    Records,
)

_LARGEST_PAGE = 4 * 1024 * 1024
"""500 routes have some 15 series each."""
_SAMPLE = re.compile(r"([a-z_]+)(?:\{(.*)\})? ([0-9.e+]+)")
_LABEL = re.compile(r'([a-z_]+)="([^"]*)"')
_REQUESTS = "mcp_proxy_requests_total"
_REFUSED = "mcp_proxy_requests_refused_total"
_FIRST_BYTES = "mcp_proxy_upstream_first_byte_seconds_bucket"


def look(instance: str, port: int) -> dict[str, Any]:
    """The counts of the proxy of an instance, whose admin listener is at this port of loopback.

    :raises TunnelError: if it does not show them.
    """
    unit = f"mcp-proxy@{instance}.service"
    try:
        status, body = loopback.get(port, "/metrics", unit, _LARGEST_PAGE)
    except loopback.Stranger as found:
        status, body = 0, str(found)
    if status != 200:
        said = f"HTTP {status}" if status else body
        raise TunnelError(
            f"http://127.0.0.1:{port}/metrics",
            f"does not show the traffic: {said}",
            f"Look at journalctl -u {unit}",
        )
    return counts(body)


def counts(page: str) -> dict[str, Any]:
    """The counts on a page of metrics, as replica_traffic returns them."""
    totals = {"started": 0, "handshakes": 0, "handshake_failures": 0}
    names = {
        "process_start_time_seconds": "started",
        "mcp_proxy_tls_handshakes_total": "handshakes",
        "mcp_proxy_tls_handshake_failures_total": "handshake_failures",
    }
    routes: dict[str, dict[str, Any]] = {}
    closed = set()
    for name, labels, value in _samples(page):
        if name in names:
            totals[names[name]] += value
        elif name == "mcp_proxy_route_maintenance" and value:
            closed.add(labels.get("route"))
        elif name in (_REQUESTS, _REFUSED, _FIRST_BYTES):
            new = {"answered": 0, "failed": 0, "first_bytes": []}
            _count(routes.setdefault(labels.get("route", ""), new), name, labels, value)
    # Of a route in maintenance, each request is answered 503, as it should be.
    shown = sorted(routes.keys() - closed)
    return {**totals, "routes": [{"route": name, **routes[name]} for name in shown]}


def _count(route: dict[str, Any], name: str, labels: dict[str, str], value: int) -> None:
    if name == _FIRST_BYTES:
        route["first_bytes"].append({"within": labels.get("le", ""), "count": value})
    elif name == _REQUESTS:
        route["answered"] += value
        route["failed"] += value if labels.get("status") == "5xx" else 0
    elif labels.get("option") == "max_in_flight":
        # Answered 503, as it should be. The proxy counts both at once.
        route["answered"] -= value
        route["failed"] -= value


def _samples(page: str) -> Iterator[tuple[str, dict[str, str], int]]:
    for line in page.splitlines():
        if found := _SAMPLE.fullmatch(line):
            yield found[1], dict(_LABEL.findall(found[2] or "")), int(float(found[3]))


def remember(instance: str, port: int, records: Records) -> None:
    """Keeps what a replica has counted, if what runs there is good: the time before a change.

    Where nobody answers, there is nothing to keep, and the change goes on.
    """
    good = records.load("good")
    if not good or records.load("applied") != good:
        return
    with contextlib.suppress(TunnelError):
        records.store(TRAFFIC, look(instance, port))
