from __future__ import annotations

import time

import pytest
from exposed import samples
from mcp_proxy import __version__
from mcp_proxy.watch.metrics import NO_ROUTE, Metrics


def test_a_request_is_counted_by_route_and_class() -> None:
    metrics = Metrics()
    metrics.request_started("echo")
    assert samples(metrics)["mcp_proxy_requests_in_flight", (("route", "echo"),)] == 1
    metrics.request_finished("echo", 201, 0.3, 10, 20)
    metrics.request_started("echo")
    metrics.request_finished("echo", 200, 700.0, 1, 2)
    metrics.request_started(NO_ROUTE)
    metrics.request_finished(NO_ROUTE, 502, 0.001, 0, 5)
    metrics.request_started("echo")
    metrics.request_finished("echo", 0, 0.1, 0, 0)
    found = samples(metrics)
    echo = ("route", "echo")
    assert found["mcp_proxy_requests_total", (echo, ("status", "2xx"))] == 2
    assert found["mcp_proxy_requests_total", (echo, ("status", "5xx"))] == 1
    assert found["mcp_proxy_requests_total", (("route", NO_ROUTE), ("status", "5xx"))] == 1
    assert found["mcp_proxy_requests_in_flight", (echo,)] == 0
    assert found["mcp_proxy_request_body_bytes_total", (echo,)] == 11
    assert found["mcp_proxy_response_body_bytes_total", (echo,)] == 22
    assert found["mcp_proxy_request_duration_seconds_bucket", (("le", "0.5"), echo)] == 2
    assert found["mcp_proxy_request_duration_seconds_bucket", (("le", "600.0"), echo)] == 2
    assert found["mcp_proxy_request_duration_seconds_bucket", (("le", "+Inf"), echo)] == 3
    assert found["mcp_proxy_request_duration_seconds_count", (echo,)] == 3
    assert found["mcp_proxy_request_duration_seconds_sum", (echo,)] == pytest.approx(700.4)


def test_refused_requests_are_counted_by_option() -> None:
    metrics = Metrics()
    metrics.add_route("echo", ("paths", "rate"))
    metrics.add_route("other")
    metrics.request_refused("echo", "rate")
    metrics.add_route("echo", ("paths", "rate"))  # again, with a reload
    found = {
        dict(labels)["option"]: value
        for (name, labels), value in samples(metrics).items()
        if name == "mcp_proxy_requests_refused_total"
    }
    assert found == {"paths": 0, "rate": 1}


def test_requests_in_flight_can_be_asked_for() -> None:
    metrics = Metrics()
    assert metrics.in_flight("echo") == 0
    metrics.request_started("echo")
    metrics.request_started("other")
    assert metrics.in_flight("echo") == 1


@pytest.mark.parametrize(("seconds", "bounds"), [(0.002, 15), (0.0021, 14), (600, 1), (601, 0)])
def test_a_bucket_takes_its_upper_bound(seconds: float, bounds: int) -> None:
    """As in any Prometheus histogram: le is "less or equal"."""
    metrics = Metrics()
    metrics.request_started("echo")
    metrics.request_finished("echo", 200, seconds, 0, 0)
    name = "mcp_proxy_request_duration_seconds_bucket"
    values = [
        value
        for (found, labels), value in samples(metrics).items()
        if found == name and dict(labels)["le"] != "+Inf"
    ]
    assert (len(values), sum(values)) == (15, bounds)


def test_messages_of_mcp() -> None:
    metrics = Metrics()
    metrics.add_route("echo")
    assert not [key for key in samples(metrics) if key[0].startswith("mcp_proxy_mcp_")]
    metrics.mcp_request_finished("echo", ("tools/call", "search"), 0.25)
    metrics.mcp_request_finished("echo", ("tools/call", "search"), 0.5)
    metrics.mcp_request_finished("echo", ("tools/list", ""), 1)
    found = samples(metrics)
    call = (("method", "tools/call"), ("route", "echo"), ("tool", "search"))
    listing = (("method", "tools/list"), ("route", "echo"), ("tool", ""))
    assert found["mcp_proxy_mcp_requests_total", call] == 2
    assert found["mcp_proxy_mcp_request_seconds_total", call] == 0.75
    assert found["mcp_proxy_mcp_requests_total", listing] == 1


def test_what_waits_for_slow_peers() -> None:
    metrics = Metrics()
    metrics.buffered(1000, 2)
    found = samples(metrics)
    assert found["mcp_proxy_buffered_bytes", ()] == 1000
    assert found["mcp_proxy_buffers_cut_total", ()] == 2


def test_connections_and_handshakes() -> None:
    metrics = Metrics()
    metrics.connection_opened()
    metrics.connection_opened()
    metrics.connection_closed()
    metrics.connection_refused()
    metrics.handshake_done("TLSv1.3", "h2", resumed=False)
    metrics.handshake_done("TLSv1.3", "", resumed=True)
    metrics.handshake_failed("timeout")
    found = samples(metrics)
    assert found["mcp_proxy_connections_total", ()] == 2
    assert found["mcp_proxy_connections_open", ()] == 1
    assert found["mcp_proxy_connections_refused_total", ()] == 1
    full, again, version = ("resumed", "false"), ("resumed", "true"), ("version", "TLSv1.3")
    assert found["mcp_proxy_tls_handshakes_total", (("alpn", "h2"), full, version)] == 1
    assert found["mcp_proxy_tls_handshakes_total", (("alpn", "none"), again, version)] == 1
    assert found["mcp_proxy_tls_handshake_failures_total", (("reason", "timeout"),)] == 1
    assert found["mcp_proxy_tls_handshake_failures_total", (("reason", "closed"),)] == 0


def test_the_limit_of_connections() -> None:
    metrics = Metrics()
    metrics.connection_limit(4096)
    assert samples(metrics)["mcp_proxy_connections_limit", ()] == 4096


def test_upstreams() -> None:
    metrics = Metrics()
    metrics.add_route("echo")
    route = ("route", "echo")
    assert samples(metrics)["mcp_proxy_upstream_connects_total", (route,)] == 0
    metrics.upstream_connected("echo")
    metrics.upstream_reused("echo")
    metrics.upstream_reused("echo")
    metrics.upstream_answered("echo", 0.03)
    metrics.upstream_failed("echo", "refused")
    metrics.validation_refused("echo")
    found = samples(metrics)
    assert found["mcp_proxy_upstream_connects_total", (route,)] == 1
    assert found["mcp_proxy_upstream_reuses_total", (route,)] == 2
    failures = "mcp_proxy_upstream_connect_failures_total"
    assert found[failures, (("reason", "refused"), route)] == 1
    assert found[failures, (("reason", "dns"), route)] == 0
    assert found["mcp_proxy_upstream_validation_refusals_total", (route,)] == 1
    first = "mcp_proxy_upstream_first_byte_seconds"
    assert found[f"{first}_bucket", (("le", "0.025"), route)] == 0
    assert found[f"{first}_bucket", (("le", "0.05"), route)] == 1
    assert found[f"{first}_count", (route,)] == 1
    assert found[f"{first}_sum", (route,)] == 0.03


def test_certificates_and_build() -> None:
    metrics = Metrics()
    metrics.certificate_loaded(1_800_000_000.0)
    metrics.certificate_reload(loaded=False)
    found = samples(metrics)
    assert found["mcp_proxy_certificate_expiry_timestamp_seconds", ()] == 1_800_000_000
    assert found["mcp_proxy_certificate_reloads_total", (("result", "refused"),)] == 1
    assert found["mcp_proxy_certificate_reloads_total", (("result", "loaded"),)] == 0
    (labels,) = [dict(key[1]) for key in found if key[0] == "mcp_proxy_build_info"]
    assert (labels["version"], labels["build"]) == (__version__, "pure")


def test_the_expiry_of_no_certificate_is_not_1970() -> None:
    assert ("mcp_proxy_certificate_expiry_timestamp_seconds", ()) not in samples(Metrics())


def test_configurations() -> None:
    metrics = Metrics()
    successful = ("mcp_proxy_config_last_reload_successful", ())
    when = ("mcp_proxy_config_last_reload_success_timestamp_seconds", ())
    assert successful not in samples(metrics)
    metrics.config_loaded()
    loaded = samples(metrics)
    assert loaded[successful] == 1
    assert loaded[when] == pytest.approx(time.time(), abs=60)
    metrics.config_reload(loaded=False)
    refused = samples(metrics)
    assert (refused[successful], refused[when]) == (0, loaded[when])
    metrics.config_reload(loaded=True)
    found = samples(metrics)
    assert (found[successful], found[when] > loaded[when]) == (1, True)
    for result in ("loaded", "refused"):
        assert found["mcp_proxy_config_reloads_total", (("result", result),)] == 1


def test_workers() -> None:
    metrics = Metrics()
    metrics.worker_count(1, 2)
    metrics.worker_restarted("killed")
    found = samples(metrics)
    assert found["mcp_proxy_workers", ()] == 1
    assert found["mcp_proxy_workers_configured", ()] == 2
    assert found["mcp_proxy_worker_restarts_total", (("reason", "killed"),)] == 1
    assert found["mcp_proxy_worker_restarts_total", (("reason", "silent"),)] == 0
