"""The counts on a page of metrics, and those that are kept before a change."""

from __future__ import annotations

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica import traffic
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica.records import Records

PAGE = """\
# HELP mcp_proxy_requests_total Requests answered, by route and class of the status.
# TYPE mcp_proxy_requests_total counter
mcp_proxy_requests_total{route="-",status="5xx"} 2.0
mcp_proxy_requests_total{route="echo",status="2xx"} 40.0
mcp_proxy_requests_total{route="echo",status="5xx"} 1.0
mcp_proxy_requests_total{route="wiki.abcd.tunnel.example",status="4xx"} 1e+06
mcp_proxy_requests_total{route="busy",status="2xx"} 20.0
mcp_proxy_requests_total{route="busy",status="4xx"} 5.0
mcp_proxy_requests_total{route="busy",status="5xx"} 8.0
mcp_proxy_requests_refused_total{option="max_in_flight",route="busy"} 7.0
mcp_proxy_requests_refused_total{option="rate",route="busy"} 5.0
mcp_proxy_upstream_first_byte_seconds_bucket{route="echo",le="0.002"} 3.0
mcp_proxy_upstream_first_byte_seconds_bucket{route="echo",le="+Inf"} 40.0
mcp_proxy_upstream_first_byte_seconds_count{route="echo"} 40.0
mcp_proxy_tls_handshakes_total{alpn="h2",resumed="false",version="TLSv1.3"} 5.0
mcp_proxy_tls_handshakes_total{alpn="",resumed="true",version="TLSv1.3"} 6.0
mcp_proxy_tls_handshake_failures_total{reason="closed"} 2.0
process_start_time_seconds 1.79594e+09
mcp_proxy_connections_open 7.0
mcp_proxy_requests_total{route="closed",status="5xx"} 9.0
mcp_proxy_route_maintenance{route="closed"} 1.0
mcp_proxy_route_maintenance{route="echo"} 0.0
nonsense{ 3
"""
COUNTS = {
    "started": 1795940000,
    "handshakes": 11,
    "handshake_failures": 2,
    "routes": [
        {"route": "-", "answered": 2, "failed": 2, "first_bytes": []},
        {"route": "busy", "answered": 26, "failed": 1, "first_bytes": []},
        {
            "route": "echo",
            "answered": 41,
            "failed": 1,
            "first_bytes": [{"within": "0.002", "count": 3}, {"within": "+Inf", "count": 40}],
        },
        {"route": "wiki.abcd.tunnel.example", "answered": 1000000, "failed": 0, "first_bytes": []},
    ],
}


def answering(monkeypatch, status, body):
    monkeypatch.setattr(traffic.loopback, "get", lambda *_arguments: (status, body))


def test_a_page_of_metrics():
    assert traffic.counts(PAGE) == COUNTS


def test_what_was_counted_is_kept_of_a_replica_that_is_good(tmp_path, monkeypatch):
    answering(monkeypatch, 200, PAGE)
    records = Records("default", tmp_path)
    traffic.remember("default", 8081, records)
    assert records.load("traffic") == {}
    state = {"mcp-proxy@default.service": {"part": "proxy", "version": "1", "files": {}}}
    records.store("good", state)
    records.store("applied", state)
    traffic.remember("default", 8081, records)
    assert records.load("traffic") == COUNTS
    assert records.versions_on_this_machine("proxy") == {"1"}
    records.forget_contents()
    assert records.load("traffic") == COUNTS


def test_the_counts_of_an_unproven_replica_do_not_replace_those_of_a_good_one(
    tmp_path, monkeypatch
):
    records = Records("default", tmp_path)
    records.store("good", {"a": {"version": "1"}})
    records.store("applied", {"a": {"version": "2"}})
    records.store("traffic", COUNTS)
    answering(monkeypatch, 200, "process_start_time_seconds 1.0\n")
    traffic.remember("default", 8081, records)
    assert records.load("traffic") == COUNTS


def test_a_proxy_that_does_not_answer_hinders_no_change(tmp_path, monkeypatch):
    records = Records("default", tmp_path)
    records.store("good", {"a": {"version": "1"}})
    records.store("applied", {"a": {"version": "1"}})
    answering(monkeypatch, 0, "Connection refused")
    traffic.remember("default", 8081, records)
    assert records.load("traffic") == {}
