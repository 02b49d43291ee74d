from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from ipaddress import IPv4Network
from typing import Any

from mcp_proxy.config import model as settings
from mcp_proxy.config.wire import from_wire, to_wire

# Nothing here is a default, so that nothing can be left out unnoticed.
FULL = settings.Config(
    listen=settings.Address("::1", 9090),
    tls=settings.Tls("/cert", "/key", 7.5),
    routes={
        "a": settings.Upstream("http", "10.0.0.1", 80),
        "b": settings.Upstream("https", "b.lan", 443),
    },
    route_options={
        "a": settings.RouteOptions(
            maintenance=True,
            retry_after=7.5,
            paths=("/mcp", "/x"),
            methods=("GET", "POST"),
            max_body_bytes=11,
            max_in_flight=12,
            rate=settings.Rate(13.5, 60.0),
            rewrite_host=False,
            timeouts=settings.RouteTimeouts(1.5, 2.5, 3.5, 4.5),
            spread=True,
            client_cert="/client.crt",
            client_key="/client.key",
            ca_file="/route-ca.crt",
            server_name="wiki.lan",
            tls=settings.RouteTls("cert \xff", "key", "ca", "wiki.lan"),
        ),
        "b": settings.RouteOptions(),
    },
    log_level="debug",
    access_log=True,
    mcp_tools=("search", "add"),
    shutdown_timeout=1.5,
    tunnel_domain="t.example",
    upstream=settings.UpstreamPolicy(
        allowed_ips=(IPv4Network("10.0.0.0/8"), IPv4Network("127.0.0.1/32")),
        disable_ip_validation=True,
        ca_file="/ca",
        include_system_cas=True,
        rewrite_host=True,
        ca_pem="pem \xff",
    ),
    timeouts=settings.Timeouts(1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5),
    limits=settings.Limits(7, 2048, 9),
    workers=3,
    metrics=settings.MetricsSources("/run/counters", "/run/connections"),
    admin=settings.Address("127.0.0.1", 9191),
    lines={"tls.cert_file": 4},
)


def test_what_was_sent_is_what_arrives() -> None:
    assert from_wire(json.loads(json.dumps(to_wire(FULL)))) == FULL
    quiet = settings.Config(FULL.listen, FULL.tls, FULL.routes, admin=None)
    assert from_wire(json.loads(json.dumps(to_wire(quiet)))) == quiet


def test_the_sample_has_no_default_left() -> None:
    def defaults(value: Any, where: str = "") -> list[str]:
        found = []
        for item in fields(value):
            inner = getattr(value, item.name)
            if is_dataclass(inner):
                found += defaults(inner, f"{where}{item.name}.")
            elif inner == item.default:
                found.append(where + item.name)
        return found

    assert defaults(FULL) == []
    assert defaults(FULL.route_options["a"]) == []
