from __future__ import annotations

import time

import pytest
from mcp_proxy import __version__
from mcp_proxy.metrics import NO_ROUTE, Metrics
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.parser import text_string_to_metric_families


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """What a scraper reads: (name, sorted labels) to value."""
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


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
    assert found["mcp_proxy_request_duration_seconds_count", (echo,)] == 3


def test_connections_and_handshakes() -> None:
    metrics = Metrics()
    metrics.connection_opened()
    metrics.connection_opened()
    metrics.connection_closed()
    metrics.connection_refused()
    metrics.handshake_done("TLSv1.3", "h2")
    metrics.handshake_done("TLSv1.3", "")
    metrics.handshake_failed("timeout")
    found = samples(metrics)
    assert found["mcp_proxy_connections_total", ()] == 2
    assert found["mcp_proxy_connections_open", ()] == 1
    assert found["mcp_proxy_connections_refused_total", ()] == 1
    version = ("version", "TLSv1.3")
    assert found["mcp_proxy_tls_handshakes_total", (("alpn", "h2"), version)] == 1
    assert found["mcp_proxy_tls_handshakes_total", (("alpn", "none"), version)] == 1
    assert found["mcp_proxy_tls_handshake_failures_total", (("reason", "timeout"),)] == 1


def test_upstreams() -> None:
    metrics = Metrics()
    metrics.add_route("echo")
    route = ("route", "echo")
    assert samples(metrics)["mcp_proxy_upstream_connects_total", (route,)] == 0
    metrics.upstream_connected("echo")
    metrics.upstream_reused("echo")
    metrics.upstream_reused("echo")
    metrics.upstream_failed("echo", "refused")
    metrics.validation_refused("echo")
    found = samples(metrics)
    assert found["mcp_proxy_upstream_connects_total", (route,)] == 1
    assert found["mcp_proxy_upstream_reuses_total", (route,)] == 2
    failures = "mcp_proxy_upstream_connect_failures_total"
    assert found[failures, (("reason", "refused"), route)] == 1
    assert found["mcp_proxy_upstream_validation_refusals_total", (route,)] == 1


def test_certificates_and_build() -> None:
    metrics = Metrics()
    metrics.certificate_loaded(1_800_000_000.0)
    metrics.certificate_reload(loaded=False)
    found = samples(metrics)
    assert found["mcp_proxy_certificate_expiry_timestamp_seconds", ()] == 1_800_000_000
    assert found["mcp_proxy_certificate_reloads_total", (("result", "refused"),)] == 1
    assert found["mcp_proxy_certificate_reloads_total", (("result", "loaded"),)] == 0
    (labels,) = [dict(key[1]) for key in found if key[0] == "mcp_proxy_build_info"]
    assert labels["version"] == __version__


def test_the_process_is_measured_without_proc_stat() -> None:
    """Against the library's own collector, which needs what the unit's sandbox hides."""
    metrics = Metrics()
    reference = CollectorRegistry()
    ProcessCollector(registry=reference)
    found = samples(metrics)
    for name in ("cpu_seconds_total", "resident_memory_bytes", "virtual_memory_bytes", "open_fds"):
        expected = reference.get_sample_value(f"process_{name}")
        assert found[f"process_{name}", ()] == pytest.approx(expected, rel=0.1)
    assert found["process_max_fds", ()] == reference.get_sample_value("process_max_fds")
    assert found["process_start_time_seconds", ()] == pytest.approx(time.time(), abs=60)
