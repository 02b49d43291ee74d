"""The series that the proxy exposes: their names (by Prometheus' conventions), kinds and meanings.

Label values come from the configuration or from fixed lists. A client chooses among them at most,
so that nobody can make the number of time series grow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

DURATIONS: Final = (
    0.002,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    120.0,
    600.0,
)
"""Upper bounds, in seconds, of the buckets of every histogram."""

COUNTER: Final = "counter"
GAUGE: Final = "gauge"
HISTOGRAM: Final = "histogram"


@dataclass(frozen=True)
class Family:
    """One metric: ``name`` without the suffix ``_total`` that the samples of a counter have.

    ``unites`` says what several processes' values make together: their ``sum``, ``min`` or ``max``.
    """

    name: str
    kind: str
    documentation: str
    labels: tuple[str, ...] = ()
    unites: str = "sum"


_ALL: Final = (
    Family(
        "mcp_proxy_requests",
        COUNTER,
        "Requests answered, by route and class of the status.",
        ("route", "status"),
    ),
    Family(
        "mcp_proxy_request_duration_seconds",
        HISTOGRAM,
        "From the request's head to the answer's last byte.",
        ("route",),
    ),
    Family(
        "mcp_proxy_upstream_first_byte_seconds",
        HISTOGRAM,
        "From the request's head to the head of the upstream's response, connecting included.",
        ("route",),
    ),
    Family(
        "mcp_proxy_requests_in_flight",
        GAUGE,
        "Requests whose answer is not complete.",
        ("route",),
    ),
    Family(
        "mcp_proxy_requests_refused",
        COUNTER,
        "Requests that an option of their route refused, by option.",
        ("route", "option"),
    ),
    Family(
        "mcp_proxy_request_body_bytes",
        COUNTER,
        "Bytes of request bodies taken from clients.",
        ("route",),
    ),
    Family(
        "mcp_proxy_response_body_bytes",
        COUNTER,
        "Bytes of response bodies handed to clients.",
        ("route",),
    ),
    Family(
        "mcp_proxy_mcp_requests",
        COUNTER,
        "Requests answered whose client has sent Mcp-Method, by route, method and tool.",
        ("route", "method", "tool"),
    ),
    Family(
        "mcp_proxy_mcp_request_seconds",
        COUNTER,
        "Seconds that these took, from the request's head to the answer's last byte.",
        ("route", "method", "tool"),
    ),
    Family("mcp_proxy_connections_open", GAUGE, "Open connections from the connector."),
    Family(
        "mcp_proxy_connections_limit",
        GAUGE,
        "How many connections may be open (limits.max_connections).",
    ),
    Family("mcp_proxy_connections", COUNTER, "Connections accepted from the connector."),
    Family(
        "mcp_proxy_connections_refused",
        COUNTER,
        "Connections turned away because of limits.max_connections.",
    ),
    Family(
        "mcp_proxy_buffered_bytes",
        GAUGE,
        "Bytes that wait for clients and upstreams that do not take them.",
    ),
    Family(
        "mcp_proxy_buffers_cut",
        COUNTER,
        "Connections, of clients and to upstreams, cut because too much waited for them.",
    ),
    Family(
        "mcp_proxy_tls_handshakes",
        COUNTER,
        "Completed inner TLS handshakes, by TLS version, ALPN protocol, and whether resumed.",
        ("version", "alpn", "resumed"),
    ),
    Family(
        "mcp_proxy_tls_handshake_failures",
        COUNTER,
        "Connections that ended before the inner TLS was up, by reason.",
        ("reason",),
    ),
    Family("mcp_proxy_upstream_connects", COUNTER, "Connections opened to upstreams.", ("route",)),
    Family(
        "mcp_proxy_upstream_connect_failures",
        COUNTER,
        "Connections to upstreams that failed, by reason.",
        ("route", "reason"),
    ),
    Family(
        "mcp_proxy_upstream_reuses",
        COUNTER,
        "Requests sent on an upstream connection that was already open.",
        ("route",),
    ),
    Family(
        "mcp_proxy_upstream_validation_refusals",
        COUNTER,
        "Dials refused because no address of the upstream is allowed.",
        ("route",),
    ),
    Family(
        "mcp_proxy_route_maintenance",
        GAUGE,
        "1 for a route in maintenance: the proxy answers 503 in its upstream's place.",
        ("route",),
        unites="max",
    ),
    Family(
        "mcp_proxy_certificate_expiry_timestamp_seconds",
        GAUGE,
        "When the server certificate in use expires (Unix time).",
        unites="min",
    ),
    Family(
        "mcp_proxy_client_certificate_expiry_timestamp_seconds",
        GAUGE,
        "When the client certificate in use for a route's upstream expires (Unix time).",
        ("route",),
        unites="min",
    ),
    Family(
        "mcp_proxy_certificate_reloads",
        COUNTER,
        "New certificate pairs found on disk, by result.",
        ("result",),
    ),
    Family(
        "mcp_proxy_config_reloads",
        COUNTER,
        "Configurations read anew while running, by result.",
        ("result",),
    ),
    Family(
        "mcp_proxy_config_last_reload_successful",
        GAUGE,
        "1 if the configuration read last is in use, 0 if it was refused.",
        unites="min",
    ),
    Family(
        "mcp_proxy_config_last_reload_success_timestamp_seconds",
        GAUGE,
        "When the configuration in use was read (Unix time).",
        unites="max",
    ),
    Family("mcp_proxy_workers", GAUGE, "Worker processes that take requests."),
    Family("mcp_proxy_workers_configured", GAUGE, "Worker processes that there should be."),
    Family(
        "mcp_proxy_worker_restarts",
        COUNTER,
        "Worker processes replaced, by reason.",
        ("reason",),
    ),
    Family(
        "mcp_proxy_build_info",
        GAUGE,
        "Always 1; what is running is in the labels.",
        ("version", "build", "python", "openssl"),
        unites="max",
    ),
)

FAMILIES: Final = {family.name: family for family in _ALL}
"""The proxy's own metrics by name, in the order in which they are shown."""
