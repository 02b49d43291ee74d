"""What the proxy counts, in Prometheus' terms (names as of its naming conventions).

Label values come from the configuration or from fixed lists, never from a client, so that nobody
can make the number of time series grow.
"""

from __future__ import annotations

import platform
import ssl

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)
from prometheus_client.exposition import generate_latest

from . import __version__
from .process_metrics import ProcessMetrics

NO_ROUTE = "-"
"""The ``route`` label of requests whose hostname has no route; no hostname can look like this."""

# They would double the series to say when the process began, which ProcessMetrics does as well.
disable_created_metrics()  # type: ignore[no-untyped-call]

_DURATIONS = (
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


class _RouteSeries:
    """The series of one route, looked up once: finding a labelled child is dearer than counting."""

    def __init__(self, metrics: Metrics, route: str) -> None:
        self.by_class = {n: metrics.requests.labels(route, f"{n}xx") for n in range(1, 6)}
        self.duration = metrics.request_duration.labels(route)
        self.in_flight = metrics.requests_in_flight.labels(route)
        self.received = metrics.request_bytes.labels(route)
        self.sent = metrics.response_bytes.labels(route)
        self.reused = metrics.upstream_reuses.labels(route)
        self.refused = metrics.validation_refusals.labels(route)
        self.connects = metrics.upstream_connects.labels(route)


class Metrics:
    """All series of one proxy process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        registry.register(ProcessMetrics())
        self.requests = Counter(
            "mcp_proxy_requests",
            "Requests answered, by route and class of the status.",
            ["route", "status"],
            registry=registry,
        )
        self.request_duration = Histogram(
            "mcp_proxy_request_duration_seconds",
            "From the request's head to the answer's last byte.",
            ["route"],
            buckets=_DURATIONS,
            registry=registry,
        )
        self.requests_in_flight = Gauge(
            "mcp_proxy_requests_in_flight",
            "Requests whose answer is not complete.",
            ["route"],
            registry=registry,
        )
        self.request_bytes = Counter(
            "mcp_proxy_request_body_bytes",
            "Bytes of request bodies taken from clients.",
            ["route"],
            registry=registry,
        )
        self.response_bytes = Counter(
            "mcp_proxy_response_body_bytes",
            "Bytes of response bodies handed to clients.",
            ["route"],
            registry=registry,
        )
        self.connections_open = Gauge(
            "mcp_proxy_connections_open", "Open connections from the connector.", registry=registry
        )
        self.connections = Counter(
            "mcp_proxy_connections", "Connections accepted from the connector.", registry=registry
        )
        self.connections_refused = Counter(
            "mcp_proxy_connections_refused",
            "Connections turned away because of limits.max_connections.",
            registry=registry,
        )
        self.handshakes = Counter(
            "mcp_proxy_tls_handshakes",
            "Completed inner TLS handshakes, by TLS version and ALPN protocol.",
            ["version", "alpn"],
            registry=registry,
        )
        self.handshake_failures = Counter(
            "mcp_proxy_tls_handshake_failures",
            "Connections that ended before the inner TLS was up, by reason.",
            ["reason"],
            registry=registry,
        )
        self.upstream_connects = Counter(
            "mcp_proxy_upstream_connects",
            "Connections opened to upstreams.",
            ["route"],
            registry=registry,
        )
        self.upstream_connect_failures = Counter(
            "mcp_proxy_upstream_connect_failures",
            "Connections to upstreams that failed, by reason.",
            ["route", "reason"],
            registry=registry,
        )
        self.upstream_reuses = Counter(
            "mcp_proxy_upstream_reuses",
            "Requests sent on an upstream connection that was already open.",
            ["route"],
            registry=registry,
        )
        self.validation_refusals = Counter(
            "mcp_proxy_upstream_validation_refusals",
            "Dials refused because no address of the upstream is allowed.",
            ["route"],
            registry=registry,
        )
        self.certificate_expiry = Gauge(
            "mcp_proxy_certificate_expiry_timestamp_seconds",
            "When the server certificate in use expires (Unix time).",
            registry=registry,
        )
        self.certificate_reloads = Counter(
            "mcp_proxy_certificate_reloads",
            "New certificate pairs found on disk, by result.",
            ["result"],
            registry=registry,
        )
        build = Gauge(
            "mcp_proxy_build_info",
            "Always 1; what is running is in the labels.",
            ["version", "python", "openssl"],
            registry=registry,
        )
        build.labels(__version__, platform.python_version(), ssl.OPENSSL_VERSION).set(1)
        for result in ("loaded", "refused"):
            self.certificate_reloads.labels(result)
        self._routes: dict[str, _RouteSeries] = {}

    def add_route(self, route: str) -> None:
        """Make the series of *route* appear with the value 0 before its first request."""
        self._series(route)

    def request_started(self, route: str) -> None:
        """Count a request in; *route* is a configured name or :data:`NO_ROUTE`."""
        self._series(route).in_flight.inc()

    def request_finished(
        self, route: str, status: int, seconds: float, received: int, sent: int
    ) -> None:
        """Count a request out: final *status* (0: it got none), duration, body bytes each way."""
        series = self._series(route)
        series.in_flight.dec()
        series.by_class[status // 100 if 100 <= status < 600 else 5].inc()
        series.duration.observe(seconds)
        if received:
            series.received.inc(received)
        if sent:
            series.sent.inc(sent)

    def connection_opened(self) -> None:
        """Count a connection that the listener accepted and keeps."""
        self.connections.inc()
        self.connections_open.inc()

    def connection_closed(self) -> None:
        """Undo the gauge of :meth:`connection_opened`."""
        self.connections_open.dec()

    def connection_refused(self) -> None:
        """Count a connection turned away for ``limits.max_connections``."""
        self.connections_refused.inc()

    def handshake_done(self, version: str, alpn: str) -> None:
        """Count a handshake, *version* as :mod:`ssl` names it, *alpn* ``""`` for none."""
        self.handshakes.labels(version, alpn or "none").inc()

    def handshake_failed(self, reason: str) -> None:
        """Count a failure; *reason* from a fixed list (``timeout``, ``tls``, ``websocket`` …)."""
        self.handshake_failures.labels(reason).inc()

    def upstream_connected(self, route: str) -> None:
        """Count a new connection to the upstream of *route*."""
        self._series(route).connects.inc()

    def upstream_failed(self, route: str, reason: str) -> None:
        """Count a failed connect; *reason* from a fixed list (``dns``, ``refused``, ``tls`` …)."""
        self.upstream_connect_failures.labels(route, reason).inc()

    def upstream_reused(self, route: str) -> None:
        """Count a request that went out on a pooled connection."""
        self._series(route).reused.inc()

    def validation_refused(self, route: str) -> None:
        """Count a dial refused by ``upstream.allowed_ips``."""
        self._series(route).refused.inc()

    def certificate_loaded(self, expires: float) -> None:
        """Record the expiry (Unix time in seconds) of the certificate now in use."""
        self.certificate_expiry.set(expires)

    def certificate_reload(self, loaded: bool) -> None:
        """Count a change of the pair on disk, *loaded* or refused."""
        self.certificate_reloads.labels("loaded" if loaded else "refused").inc()

    def render(self) -> bytes:
        """The text exposition format, version 0.0.4."""
        return generate_latest(self.registry)

    def _series(self, route: str) -> _RouteSeries:
        series = self._routes.get(route)
        if series is None:
            series = self._routes[route] = _RouteSeries(self, route)
        return series
