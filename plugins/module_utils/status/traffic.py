# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connections to the edge and the requests over them, by the services' own figures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import loopback
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki import crypto
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica import deployed
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica.cloudflared import (
    CONNECTIONS,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.status.parts import (
    FAILED,
    NOTICE,
    OK,
    Part,
    Unread,
)

EDGE: Part = {"connections": None, "wanted": CONNECTIONS, "locations": [], "drained": ""}
TRAFFIC: Part = {
    "since": "", "requests": None, "routes": {}, "in_flight": None, "connections_open": None,
    "connections_refused": None, "handshake_failures": {}, "connect_failures": {},
    "validation_refusals": {},
}  # fmt: skip
# 500 routes have some 15 series each.
_LARGEST_PAGE = 4 * 1024 * 1024
_STATUSES = ("2xx", "3xx", "4xx", "5xx")


class Page:
    """A page of metrics: its samples, by name."""

    def __init__(self, text: str) -> None:
        # The proxy's release has it.
        from prometheus_client.parser import text_string_to_metric_families

        self._samples: dict[str, list[Any]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self._samples.setdefault(sample.name, []).append(sample)

    def samples(self, name: str) -> Iterator[tuple[dict[str, str], int]]:
        """Labels and figure of each sample of that name."""
        for sample in self._samples.get(name, []):
            yield sample.labels, int(sample.value)

    def total(self, name: str) -> int:
        """The sum of all samples of that name."""
        return sum(value for _labels, value in self.samples(name))

    def by(self, label: str, name: str) -> dict[str, int]:
        """The sums by the value of a label, without those that are 0."""
        found: dict[str, int] = {}
        for labels, value in self.samples(name):
            if value:
                key = labels.get(label, "")
                found[key] = found.get(key, 0) + value
        return found

    def label(self, label: str, name: str) -> str:
        """The value of a label of the only sample of that name; '' without one."""
        return next((labels.get(label, "") for labels, _value in self.samples(name)), "")


def edge(instance: str) -> Part:
    """The registered connections. Only ``/ready`` counts those; the metric counts attempts.

    A drained replica has none: its service layer says so if cloudflared runs all the same.
    """
    if why := deployed.drained(instance):
        return {"state": NOTICE, "drained": why}
    unit, port = deployed.cloudflared_unit(instance), deployed.metrics_port(instance)
    ready = int(json.loads(_asked(port, "/ready", unit, (200, 503)))["readyConnections"])
    page = Page(_asked(port, "/metrics", unit))
    locations = {labels.get("edge_location", "") for labels, _value in _locations(page)}
    return {
        "state": OK if ready >= CONNECTIONS else FAILED,
        "connections": ready,
        # Those of connections that are lost stay in the metric.
        "locations": sorted(locations) if ready else [],
    }


def running(instance: str) -> Part:
    """The versions that the running services say they are; '' for one that does not answer."""
    asked = {
        "proxy_running": (deployed.proxy_unit, deployed.admin_port, "mcp_proxy_build_info"),
        "cloudflared_running": (deployed.cloudflared_unit, deployed.metrics_port, "build_info"),
    }
    found = {}
    for name, (unit, port, series) in asked.items():
        try:
            page = Page(_asked(port(instance), "/metrics", unit(instance)))
        except Unread:
            continue
        found[name] = page.label("version", series)
    return found


def traffic(instance: str) -> Part:
    """The proxy's figures since its start."""
    port, unit = deployed.admin_port(instance), deployed.proxy_unit(instance)
    page = Page(_asked(port, "/metrics", unit))
    routes: dict[str, dict[str, int]] = {}
    for labels, value in page.samples("mcp_proxy_requests_total"):
        of_route = routes.setdefault(labels["route"], dict.fromkeys(_STATUSES, 0))
        of_route[labels["status"]] = of_route.get(labels["status"], 0) + value
    return {
        "since": _since(page),
        "requests": page.total("mcp_proxy_requests_total"),
        "routes": routes,
        "in_flight": page.total("mcp_proxy_requests_in_flight"),
        "connections_open": page.total("mcp_proxy_connections_open"),
        "connections_refused": page.total("mcp_proxy_connections_refused_total"),
        "handshake_failures": page.by("reason", "mcp_proxy_tls_handshake_failures_total"),
        "connect_failures": page.by("route", "mcp_proxy_upstream_connect_failures_total"),
        "validation_refusals": page.by("route", "mcp_proxy_upstream_validation_refusals_total"),
    }


def _locations(page: Page) -> Iterator[tuple[dict[str, str], int]]:
    return page.samples("cloudflared_tunnel_server_locations")


def _since(page: Page) -> str:
    started = page.total("process_start_time_seconds")
    return crypto.timestamp(datetime.fromtimestamp(started, timezone.utc)) if started else ""


def _asked(port: int, path: str, unit: str, good: tuple[int, ...] = (200,)) -> str:
    """The body of an answer.

    :raises Unread: if there is none, or not the wanted one.
    """
    url = f"http://127.0.0.1:{port}{path}"
    try:
        status, body = loopback.get(port, path, unit, _LARGEST_PAGE)
    except loopback.Stranger as found:
        raise Unread(str(found)) from None
    if status not in good:
        said = f"HTTP {status}" if status else body
        raise Unread(f"{unit} does not answer at {url}: {said}")
    return body
