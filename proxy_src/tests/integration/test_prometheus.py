"""The real Prometheus scrapes a proxy under traffic, and answers all queries that are shipped."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import pwd
import signal
import socket
import ssl
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from bridge import TunnelBridge
from pki import Authority, client_pair
from prometheus import ROOT, Prometheus, dashboard_queries, rules, running_prometheus
from running import DOMAIN, RunningProxy, becomes, running_proxy
from tunnelled import client, curl, get
from upstreams import asgi_upstream, plain_answer, raw_upstream, read_head

CLOUDFLARED = """\
# TYPE cloudflared_tunnel_ha_connections gauge
cloudflared_tunnel_ha_connections 1
# TYPE cloudflared_tunnel_total_requests counter
cloudflared_tunnel_total_requests 7
# TYPE cloudflared_tunnel_request_errors counter
cloudflared_tunnel_request_errors 0
# TYPE cloudflared_tunnel_server_locations gauge
cloudflared_tunnel_server_locations{connection_id="0",edge_location="ams01"} 1
"""
"""The real one's metrics when the edge is gone: it counts attempts, and where it once was."""
NODE_EXPORTER = """\
# TYPE mcp_tunnel_drift gauge
mcp_tunnel_drift{mcp_tunnel_instance="default",part="files"} 1
mcp_tunnel_drift{mcp_tunnel_instance="default",part="firewall"} 0
# TYPE mcp_tunnel_drift_check_timestamp_seconds gauge
mcp_tunnel_drift_check_timestamp_seconds{mcp_tunnel_instance="default"} %(now)d
# TYPE mcp_tunnel_ca_expiry_timestamp_seconds gauge
mcp_tunnel_ca_expiry_timestamp_seconds{mcp_tunnel_instance="default"} 9999999999
# TYPE node_systemd_unit_state gauge
"""
"""The node exporter's page: the report that drift.yml has written, and states of units."""
RENEWAL = 'name="mcp-tunnel-renew-cert@default.service",type="oneshot"'
TIMERS_PROGRAM = ROOT / "roles/firewall/files/mcp-tunnel-connections.py"
FIREWALL = ("proxy/upstreams/default", "proxy/refused", "others/listener/default")


class Cloudflared:
    """Answers like cloudflared, as far as the dashboard, the rules and root's timer ask for it."""

    def __init__(self, home: Path) -> None:
        self.ready = 4
        self.note = home / "connections-default.json"
        self._settings = home / "etc/default/cloudflared.env"

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line, *_ = await read_head(reader)
        status, body = 200, CLOUDFLARED
        if line.startswith("GET /ready "):
            status = 200 if self.ready else 503
            body = json.dumps({"status": status, "readyConnections": self.ready})
        answer = plain_answer(body.encode(), b"Content-Type: text/plain; version=0.0.4")
        writer.write(answer.replace(b" 200 ", b" %d " % status, 1))

    async def noted(self, port: int, ready: int) -> None:
        """Have *ready* connections, of which root's timer takes note."""
        self.ready = ready
        self._settings.parent.mkdir(parents=True, exist_ok=True)
        self._settings.write_text(f"MCP_METRICS=127.0.0.1:{port}\n")
        spec = importlib.util.spec_from_file_location("connections", TIMERS_PROGRAM)
        assert spec
        assert spec.loader
        program: Any = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(program)
        program.SETTINGS, program.NOTES = str(self._settings), str(self.note)
        # This user's server stands in for the one of cloudflared's user.
        program.USER = pwd.getpwuid(os.geteuid()).pw_name
        assert await asyncio.get_running_loop().run_in_executor(None, program.main) == 0


async def node_exporter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_head(reader)
    page = NODE_EXPORTER % {"now": time.time()}
    for state in ("activating", "active", "deactivating", "failed", "inactive"):
        page += f'node_systemd_unit_state{{{RENEWAL},state="{state}"}} {int(state == "failed")}\n'
    writer.write(plain_answer(page.encode(), b"Content-Type: text/plain; version=0.0.4"))


async def app(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


def count_packets(path: Path, packets: int) -> None:
    """Write the counters as root's timer does on a host."""
    counters = [
        {"counter": {"name": name, "packets": packets, "bytes": 60 * packets}} for name in FIREWALL
    ]
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"nftables": counters}))
    new.replace(path)


async def resume(proxy: RunningProxy) -> None:
    """Connect with one TLS session until it is resumed: each worker knows only its own."""
    context = proxy.client_tls()

    def visit(port: int, session: ssl.SSLSession | None) -> tuple[ssl.SSLSession | None, bool]:
        with socket.create_connection(("127.0.0.1", port)) as plain:
            name = f"echo.{DOMAIN}"
            with context.wrap_socket(plain, server_hostname=name, session=session) as tls:
                tls.sendall(get("echo", "/", "Connection: close"))
                while tls.recv(65536):
                    pass
                return tls.session, bool(tls.session_reused)

    session, resumed = None, False
    async with TunnelBridge(proxy.port) as port:
        while not resumed:
            run = asyncio.get_running_loop().run_in_executor
            session, resumed = await run(None, visit, port, session)


async def fail_a_handshake(proxy: RunningProxy) -> None:
    async with TunnelBridge(proxy.port) as port:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection(
                "127.0.0.1", port, ssl=ssl.create_default_context(), server_hostname="x"
            )


TOOL_CALL = {"Mcp-Method": "tools/call", "Mcp-Name": "look"}


async def call_tool(http: httpx.AsyncClient) -> None:
    """Call a tool that the operator has named."""
    url = f"https://echo.{DOMAIN}/mcp"
    reply = await http.post(url, content=b"x" * 100, headers=TOOL_CALL)
    assert reply.status_code == 200


async def traffic(proxy: RunningProxy) -> None:
    """Everything that the proxy counts while it runs, at least once."""
    for version in ("1.1", "2"):
        async with client(proxy, version) as http:
            for _ in range(5):
                await call_tool(http)
    await resume(proxy)
    for _ in range(5):
        await fail_a_handshake(proxy)
    for route, text in (
        ("closed", "Upstream refused"),
        ("forbidden", "Upstream IP validation failed"),
        ("none", "No route"),
        ("away", "Route is in maintenance"),
    ):
        for _ in range(4):
            assert text in await curl(proxy, f"{route}/")


async def trouble(proxy: RunningProxy, prometheus: Prometheus) -> None:
    """A configuration that is refused, one that is not, and the end of a worker."""
    path = proxy.home / "proxy.yaml"
    good = path.read_text()
    for text, message in ((good + "nonsense: 1\n", "refused"), (good, "configuration loaded")):
        path.write_text(text)
        proxy.process.send_signal(signal.SIGHUP)
        await proxy.logged(message)
        await prometheus.until(
            f"mcp_proxy_config_last_reload_successful == {int(text == good)}",
        )
    line = await proxy.logged("worker ready")
    os.kill(line["pid"], signal.SIGKILL)
    await prometheus.until('mcp_proxy_worker_restarts_total{reason="killed"} == 1')
    await prometheus.until("mcp_proxy_workers == 2")


ACTIVE = {
    "McpProxyHandshakesFailing": "pending",  # it has to last
    "McpProxyUpstreamFailing": "pending",
    "McpTunnelDrift": "pending",
    "McpProxyUpstreamNotAllowed": "firing",
    "McpTunnelDisconnected": "pending",
    "McpTunnelRenewalFailing": "pending",
    "McpTunnelRenewalOverdue": "pending",
    "McpTunnelFirewallRefusals": "firing",
    "McpTunnelFirewallStrangers": "firing",
}
"""The alerts that this traffic sets off."""


async def test_prometheus_answers_everything_that_is_shipped(tmp_path: Path) -> None:
    counters = tmp_path / "counters.json"
    count_packets(counters, 0)
    connector = Cloudflared(tmp_path)
    async with contextlib.AsyncExitStack() as stack:
        enter = stack.enter_async_context
        # Nobody listens there, and nobody else gets it.
        nobody = stack.enter_context(socket.socket())
        nobody.bind(("127.0.0.1", 0))
        closed = nobody.getsockname()[1]
        port = await enter(asgi_upstream(app))
        routes = {
            "echo": f"http://127.0.0.1:{port}",
            "closed": f"http://127.0.0.1:{closed}",
            "forbidden": "http://127.9.9.9:80",
            "away": f"https://127.0.0.1:{closed}",
        }
        authority = Authority()
        cert, key = client_pair(authority).write(tmp_path / "client")
        ca_file = tmp_path / "client/ca.crt"
        ca_file.write_bytes(authority.cert)
        away = {"client_cert": cert, "client_key": key, "ca_file": str(ca_file)}
        settings = {
            "mcp_tools": [TOOL_CALL["Mcp-Name"]],
            "route_options": {"away": {"maintenance": True, **away}},
            "workers": 2,
            "upstream": {"allowed_ips": ["127.0.0.1"]},
            "metrics": {
                "firewall_counters_file": str(counters),
                "connections_file": str(connector.note),
            },
        }
        cloudflared = await enter(raw_upstream(connector))
        await connector.noted(cloudflared, 4)
        proxy = await enter(running_proxy(tmp_path, routes, **settings))
        # As one that was to be renewed five days ago.
        proxy.authority.issue(f"*.{DOMAIN}", DOMAIN, ends_days=20).write(proxy.home / "tls")
        proxy.process.send_signal(signal.SIGHUP)
        node = await enter(raw_upstream(node_exporter))
        ports = {"mcp_proxy": proxy.admin_port, "mcp_cloudflared": cloudflared, "node": node}
        prometheus = await enter(running_prometheus(tmp_path, **ports))
        await prometheus.until('mcp_proxy_requests_total{route="echo", status="2xx"} == 0')
        await prometheus.until("mcp_tunnel_ready_connections == 4")
        left = "(mcp_proxy_certificate_expiry_timestamp_seconds - time())"
        await prometheus.until(f"floor({left} / 86400) == 19")
        count_packets(counters, 9)
        await connector.noted(cloudflared, 0)
        await prometheus.until("mcp_tunnel_ready_connections == 0")
        # A name has no series before it is seen for the first time.
        async with client(proxy) as http:
            await call_tool(http)
        await prometheus.until("sum(mcp_proxy_mcp_requests_total) == 1")
        await traffic(proxy)
        await prometheus.until('sum(mcp_proxy_requests_total{route!="-"}) >= 20')
        await trouble(proxy, prometheus)
        for _panel, query in dashboard_queries():
            await prometheus.until(query)
        # The rules have seen that the worker is back.
        await prometheus.until('absent(ALERTS{alertname="McpProxyWorkersMissing"})')
        found: dict[str, Any] = {}

        async def active() -> dict[str, str]:
            groups = (await prometheus.get("/api/v1/rules"))["groups"]
            found.update({rule["name"]: rule for group in groups for rule in group["rules"]})
            states = {name: rule["state"] for name, rule in found.items()}
            return {name: state for name, state in states.items() if state != "inactive"}

        await becomes(ACTIVE, active)
        assert found.keys() == {rule["alert"] for rule in rules()}
        assert [rule["lastError"] for rule in found.values() if rule.get("lastError")] == []
        for rule in found.values():
            for alert in rule["alerts"]:
                told = " ".join(alert["annotations"].values())
                assert "host1.example.com" in told
                assert "<no value>" not in told
                assert "<error" not in told
