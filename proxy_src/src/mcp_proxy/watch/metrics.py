"""The counts of one proxy process, in plain numbers: a request costs less than its log line.

Nothing here knows how the figures are shown. :meth:`Metrics.snapshot` gives them as a value that
can be sent to another process, added to those of others (:mod:`snapshots`) and shown
(:mod:`exposition`).
"""

from __future__ import annotations

import platform
import ssl
import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any, Final

from .. import __version__
from ..system.build import BUILD
from .series import DURATIONS

NO_ROUTE: Final = "-"
"""The ``route`` label of requests whose hostname has no route; no hostname can look like this."""

Sample = tuple[list[str], Any]
"""The values of the labels, and the figure: a number, or for a histogram a list of numbers (how
many values fell into each bucket, not cumulated, how many into none, and the sum of all)."""

Snapshot = dict[str, list[Sample]]
"""The samples of each family of :mod:`series`, at one moment. It survives JSON."""

# Shown as 0 before the first event: otherwise rate() and increase() do not see that one.
_HANDSHAKES: Final = tuple(product(("TLSv1.2", "TLSv1.3"), ("h2", "http/1.1", ""), (False, True)))
_HANDSHAKE_FAILURES: Final = ("closed", "timeout", "tls", "websocket")
_CONNECT_FAILURES: Final = ("dns", "refused", "timeout", "tls", "unreachable")
_RESTARTS: Final = ("exit", "killed", "silent")
_RESULTS: Final = ("loaded", "refused")


class _Route:
    """The counts of one route."""

    __slots__ = (
        "connects",
        "durations",
        "failures",
        "first_bytes",
        "first_seconds",
        "in_flight",
        "messages",
        "received",
        "refusals",
        "refused",
        "reuses",
        "seconds",
        "sent",
        "statuses",
    )

    def __init__(self) -> None:
        self.statuses = [0] * 6
        self.durations = [0] * (len(DURATIONS) + 1)
        self.seconds = 0.0
        self.first_bytes = [0] * (len(DURATIONS) + 1)
        self.first_seconds = 0.0
        self.in_flight = 0
        self.received = 0
        self.sent = 0
        self.connects = 0
        self.reuses = 0
        self.refusals = 0
        self.refused: Counter[str] = Counter()
        self.messages: dict[tuple[str, str], list[float]] = {}  # how many, and their seconds
        self.failures = Counter(dict.fromkeys(_CONNECT_FAILURES, 0))


class Metrics:
    """The counts of this process."""

    def __init__(self) -> None:
        self._routes: defaultdict[str, _Route] = defaultdict(_Route)
        self._maintenance: dict[str, bool] = {}
        self._connections = 0
        self._connections_open = 0
        self._connections_limit = 0
        self._connections_refused = 0
        self._buffered = 0
        self._buffers_cut = 0
        self._handshakes = Counter(dict.fromkeys(_HANDSHAKES, 0))
        self._handshake_failures = Counter(dict.fromkeys(_HANDSHAKE_FAILURES, 0))
        self._certificate_expiry: float | None = None
        self._client_certificates: dict[str, float] = {}
        self._certificate_reloads = Counter(dict.fromkeys(_RESULTS, 0))
        self._config_reloads = Counter(dict.fromkeys(_RESULTS, 0))
        self._config_in_use: int | None = None
        self._config_time: float | None = None
        self._workers = (0, 0)
        self._worker_restarts = Counter(dict.fromkeys(_RESTARTS, 0))

    # -- requests ----------------------------------------------------------------------------

    def add_route(self, route: str, options: Iterable[str] = ()) -> None:
        """Make the series of *route* appear with the value 0 before its first request.

        *options* are the names of those of its options that can refuse one.
        """
        refused = self._routes[route].refused
        for option in options:
            refused[option] += 0

    def request_started(self, route: str) -> None:
        """Count a request in; *route* is a configured name or :data:`NO_ROUTE`."""
        self._routes[route].in_flight += 1

    def in_flight(self, route: str) -> int:
        """How many requests of *route* have been counted in, and not out."""
        return self._routes[route].in_flight

    def request_refused(self, route: str, option: str) -> None:
        """Count a request that the *option* of its route refused."""
        self._routes[route].refused[option] += 1

    def request_finished(
        self, route: str, status: int, seconds: float, received: int, sent: int
    ) -> None:
        """Count a request out: final *status* (0: it got none), duration, body bytes each way."""
        counts = self._routes[route]
        counts.in_flight -= 1
        counts.statuses[status // 100 if 100 <= status < 600 else 5] += 1
        counts.durations[bisect_left(DURATIONS, seconds)] += 1
        counts.seconds += seconds
        counts.received += received
        counts.sent += sent

    def mcp_request_finished(self, route: str, message: tuple[str, str], seconds: float) -> None:
        """Count a request whose client has said which *message* of MCP it is.

        *message* is as of :class:`http.mcp_message.McpNames`.
        """
        counts = self._routes[route].messages.setdefault(message, [0, 0.0])
        counts[0] += 1
        counts[1] += seconds

    # -- connections from the connector ------------------------------------------------------

    def connection_limit(self, limit: int) -> None:
        """Record how many connections this process may have open."""
        self._connections_limit = limit

    def connection_opened(self) -> None:
        """Count a connection that the listener accepted and keeps."""
        self._connections += 1
        self._connections_open += 1

    def connection_closed(self) -> None:
        """Undo the gauge of :meth:`connection_opened`."""
        self._connections_open -= 1

    def connection_refused(self) -> None:
        """Count a connection turned away for ``limits.max_connections``."""
        self._connections_refused += 1

    def buffered(self, waiting: int, cut: int) -> None:
        """Record the bytes *waiting* for slow peers, and the connections *cut* for them so far."""
        self._buffered = waiting
        self._buffers_cut = cut

    def handshake_done(self, version: str, alpn: str, resumed: bool) -> None:
        """Count a handshake, *version* as :mod:`ssl` names it, *alpn* ``""`` for none."""
        self._handshakes[version, alpn, resumed] += 1

    def handshake_failed(self, reason: str) -> None:
        """Count a failure; *reason* from a fixed list (``timeout``, ``tls``, ``websocket`` …)."""
        self._handshake_failures[reason] += 1

    # -- upstreams ---------------------------------------------------------------------------

    def upstream_connected(self, route: str) -> None:
        """Count a new connection to the upstream of *route*."""
        self._routes[route].connects += 1

    def upstream_failed(self, route: str, reason: str) -> None:
        """Count a failed connect; *reason* from a fixed list (``dns``, ``refused``, ``tls`` …)."""
        self._routes[route].failures[reason] += 1

    def upstream_answered(self, route: str, seconds: float) -> None:
        """Count a response of an upstream that began *seconds* after the request."""
        counts = self._routes[route]
        counts.first_bytes[bisect_left(DURATIONS, seconds)] += 1
        counts.first_seconds += seconds

    def upstream_reused(self, route: str) -> None:
        """Count a request that went out on a pooled connection."""
        self._routes[route].reuses += 1

    def validation_refused(self, route: str) -> None:
        """Count a dial refused by ``upstream.allowed_ips``."""
        self._routes[route].refusals += 1

    # -- life cycle --------------------------------------------------------------------------

    def certificate_loaded(self, expires: float) -> None:
        """Record the expiry (Unix time in seconds) of the certificate now in use."""
        self._certificate_expiry = expires

    def certificate_reload(self, loaded: bool) -> None:
        """Count a change of the pair on disk, *loaded* or refused."""
        self._certificate_reloads["loaded" if loaded else "refused"] += 1

    def client_certificates(self, expiries: Mapping[str, float]) -> None:
        """Record the expiry (Unix time in seconds) of the client certificate of each route."""
        self._client_certificates = dict(expiries)

    def maintenance(self, routes: Mapping[str, bool]) -> None:
        """Record which of the configured *routes* are in maintenance."""
        self._maintenance = dict(routes)

    def config_loaded(self) -> None:
        """Record that the configuration in use was read now: at start, or on a reload."""
        self._config_in_use = 1
        self._config_time = time.time()

    def config_reload(self, loaded: bool) -> None:
        """Count a configuration read anew while running, *loaded* or refused."""
        self._config_reloads["loaded" if loaded else "refused"] += 1
        if loaded:
            self.config_loaded()
        else:
            self._config_in_use = 0

    def worker_count(self, ready: int, configured: int) -> None:
        """Record how many workers take requests, and how many should."""
        self._workers = (ready, configured)

    def worker_restarted(self, reason: str) -> None:
        """Count a worker that was replaced.

        *reason* is ``exit`` (it ended by itself), ``killed`` (by a signal from elsewhere), or
        ``silent`` (it did not answer any more).
        """
        self._worker_restarts[reason] += 1

    # -- all of it ---------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Everything counted so far."""
        found = self._requests()
        found["mcp_proxy_route_maintenance"] = _each(
            (name, int(is_away)) for name, is_away in self._maintenance.items()
        )
        found["mcp_proxy_connections_open"] = _one(self._connections_open)
        found["mcp_proxy_connections_limit"] = _one(self._connections_limit)
        found["mcp_proxy_connections"] = _one(self._connections)
        found["mcp_proxy_connections_refused"] = _one(self._connections_refused)
        found["mcp_proxy_buffered_bytes"] = _one(self._buffered)
        found["mcp_proxy_buffers_cut"] = _one(self._buffers_cut)
        found["mcp_proxy_tls_handshakes"] = [
            ([version, alpn or "none", str(resumed).lower()], count)
            for (version, alpn, resumed), count in self._handshakes.items()
        ]
        found["mcp_proxy_tls_handshake_failures"] = _each(self._handshake_failures.items())
        # Absent while unknown: 0 would be a certificate that expired in 1970.
        found["mcp_proxy_certificate_expiry_timestamp_seconds"] = _known(self._certificate_expiry)
        found["mcp_proxy_client_certificate_expiry_timestamp_seconds"] = _each(
            self._client_certificates.items()
        )
        found["mcp_proxy_certificate_reloads"] = _each(self._certificate_reloads.items())
        found["mcp_proxy_config_reloads"] = _each(self._config_reloads.items())
        found["mcp_proxy_config_last_reload_successful"] = _known(self._config_in_use)
        found["mcp_proxy_config_last_reload_success_timestamp_seconds"] = _known(self._config_time)
        ready, configured = self._workers
        found["mcp_proxy_workers"] = _one(ready)
        found["mcp_proxy_workers_configured"] = _one(configured)
        found["mcp_proxy_worker_restarts"] = _each(self._worker_restarts.items())
        build = [__version__, BUILD, platform.python_version(), ssl.OPENSSL_VERSION]
        found["mcp_proxy_build_info"] = [(build, 1)]
        return found

    def _requests(self) -> Snapshot:
        routes = self._routes.items()
        return {
            "mcp_proxy_requests": [
                ([name, f"{digit}xx"], counts.statuses[digit])
                for name, counts in routes
                for digit in range(1, 6)
            ],
            "mcp_proxy_request_duration_seconds": [
                ([name], [*counts.durations, counts.seconds]) for name, counts in routes
            ],
            "mcp_proxy_upstream_first_byte_seconds": [
                ([name], [*counts.first_bytes, counts.first_seconds]) for name, counts in routes
            ],
            "mcp_proxy_mcp_requests": _messages(routes, 0),
            "mcp_proxy_mcp_request_seconds": _messages(routes, 1),
            "mcp_proxy_requests_in_flight": _each((name, c.in_flight) for name, c in routes),
            "mcp_proxy_requests_refused": [
                ([name, option], count)
                for name, counts in routes
                for option, count in counts.refused.items()
            ],
            "mcp_proxy_request_body_bytes": _each((name, c.received) for name, c in routes),
            "mcp_proxy_response_body_bytes": _each((name, c.sent) for name, c in routes),
            "mcp_proxy_upstream_connects": _each((name, c.connects) for name, c in routes),
            "mcp_proxy_upstream_connect_failures": [
                ([name, reason], count)
                for name, counts in routes
                for reason, count in counts.failures.items()
            ],
            "mcp_proxy_upstream_reuses": _each((name, c.reuses) for name, c in routes),
            "mcp_proxy_upstream_validation_refusals": _each((n, c.refusals) for n, c in routes),
        }


def _messages(routes: Iterable[tuple[str, _Route]], place: int) -> list[Sample]:
    return [
        ([name, *message], figures[place])
        for name, counts in routes
        for message, figures in counts.messages.items()
    ]


def _one(value: float) -> list[Sample]:
    return [([], value)]


def _known(value: float | None) -> list[Sample]:
    return [] if value is None else _one(value)


def _each(values: Iterable[tuple[str, float]]) -> list[Sample]:
    return [([label], value) for label, value in values]
