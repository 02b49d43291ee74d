"""The life of the real process: systemd's protocol, signals, certificates, readiness, exit."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from bridge import TunnelBridge
from pki import put
from running import (
    DOMAIN,
    PATIENCE,
    SRC,
    RunningProxy,
    becomes,
    prepared_proxy,
    running_proxy,
)
from upstreams import nobodys_port

HOST = f"echo.{DOMAIN}"
REQUEST = f"GET /slow HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()


class Upstream:
    """Answers a request when the test says so."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        self.answer = asyncio.Event()
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.arrived.set()
                await self.answer.wait()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[Upstream]:
    here = Upstream()
    server = await asyncio.start_server(here.serve, "127.0.0.1", 0)
    here.port = server.sockets[0].getsockname()[1]
    yield here
    here.answer.set()
    server.close()


@pytest_asyncio.fixture
async def proxy(tmp_path: Path, upstream: Upstream) -> AsyncIterator[RunningProxy]:
    routes = {"echo": f"http://127.0.0.1:{upstream.port}"}
    tls = {
        "cert_file": str(tmp_path / "tls/tls.crt"),
        "key_file": str(tmp_path / "tls/tls.key"),
        "poll_interval": "50ms",
    }
    # Longer than any wait of a test: nothing that waits for it passes.
    async with running_proxy(tmp_path, routes, tls=tls, shutdown_timeout="5m") as running:
        yield running


async def admin(proxy: RunningProxy, path: str) -> tuple[int, str]:
    def fetch() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{proxy.admin_port}{path}") as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    return await asyncio.get_running_loop().run_in_executor(None, fetch)


class Client:
    """One inner-TLS connection of a client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, proxy: RunningProxy, port: int) -> Client:
        tls = proxy.client_tls("http/1.1")
        return cls(*await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname=HOST))

    @property
    def certificate(self) -> str:
        """The certificate that the proxy presented, in PEM."""
        return ssl.DER_cert_to_PEM_cert(
            self._writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        )

    def ask(self) -> None:
        self._writer.write(REQUEST)

    async def answer(self) -> bytes:
        """The status line and body, or the part that came before the end."""
        try:
            head = await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), PATIENCE)
            return head.split(b"\r\n")[0] + b" " + await self._reader.readexactly(2)
        except (asyncio.IncompleteReadError, ConnectionError):
            return b"cut"

    def close(self) -> None:
        self._writer.transport.abort()


async def test_systemd_is_told(
    tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    # The kernel keeps ten messages (unix(7), max_dgram_qlen) while the test is slow.
    monkeypatch.setenv("WATCHDOG_USEC", "2000000")
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        sock.setblocking(False)

        async def next_but_watchdog() -> bytes:
            while True:
                message = await asyncio.wait_for(loop.sock_recv(sock, 1000), PATIENCE)
                if message != b"WATCHDOG=1":
                    return message

        routes = {"echo": f"http://127.0.0.1:{upstream.port}"}
        async with running_proxy(tmp_path, routes) as proxy:
            assert await next_but_watchdog() == b"READY=1\nSTATUS=1 route configured"
            for _ in range(3):
                assert await asyncio.wait_for(loop.sock_recv(sock, 1000), PATIENCE) == b"WATCHDOG=1"
            proxy.process.send_signal(signal.SIGHUP)
            assert (await next_but_watchdog()).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
            assert (await next_but_watchdog()).startswith(b"READY=1\n")
            proxy.terminate()
            assert (await next_but_watchdog()).startswith(b"STOPPING=1\n")
            assert await asyncio.wait_for(proxy.process.wait(), PATIENCE) == 0
            await proxy.logged("stopped", cut_requests=0)


async def test_a_request_in_flight_ends_well(proxy: RunningProxy, upstream: Upstream) -> None:
    async with TunnelBridge(proxy.port) as port:
        client = await Client.connect(proxy, port)
        client.ask()
        await upstream.arrived.wait()
        assert await admin(proxy, "/readyz") == (200, "ready\n")
        proxy.terminate()
        await proxy.logged("stopping")
        assert await admin(proxy, "/readyz") == (503, "stopping\n")
        assert await admin(proxy, "/healthz") == (200, "ok\n")
        upstream.answer.set()
        assert await client.answer() == b"HTTP/1.1 200 OK ok"
        assert await asyncio.wait_for(proxy.process.wait(), PATIENCE) == 0
        client.close()
    assert (await proxy.logged("stopped"))["cut_requests"] == 0


async def test_a_second_signal_does_not_wait(proxy: RunningProxy, upstream: Upstream) -> None:
    async with TunnelBridge(proxy.port) as port:
        client = await Client.connect(proxy, port)
        client.ask()
        await upstream.arrived.wait()
        proxy.terminate()
        await proxy.logged("stopping")
        proxy.terminate()
        assert await asyncio.wait_for(proxy.process.wait(), PATIENCE) == 0
        assert await client.answer() == b"cut"
        client.close()


async def test_the_firewalls_counters_come_and_go(tmp_path: Path, upstream: Upstream) -> None:
    counters = tmp_path / "firewall-counters.json"
    routes = {"echo": f"http://127.0.0.1:{upstream.port}"}
    metrics = {"firewall_counters_file": str(counters)}
    series = (
        'mcp_tunnel_firewall_packets_total{mcp_tunnel_instance="",rule="refused",who="proxy"} 5.0'
    )
    document = {"counter": {"name": "proxy/refused", "packets": 5, "bytes": 300}}
    async with running_proxy(tmp_path, routes, metrics=metrics) as proxy:
        _, page = await admin(proxy, "/metrics")
        assert "mcp_tunnel_firewall_counters_age_seconds +Inf" in page
        line = await proxy.logged("firewall counters not available", level="warn")
        assert line["problem"] == "cannot read it: No such file or directory"
        counters.write_text(json.dumps({"nftables": [document]}))
        _, page = await admin(proxy, "/metrics")
        assert series in page
        counters.write_text("{")
        status, page = await admin(proxy, "/metrics")
        assert (status, "mcp_tunnel_firewall_packets_total{" in page) == (200, False)
        assert 'mcp_proxy_upstream_connects_total{route="echo"} 0.0' in page


async def test_a_new_certificate_drops_no_connection(
    proxy: RunningProxy, upstream: Upstream
) -> None:
    upstream.answer.set()
    tls = proxy.home / "tls"
    async with TunnelBridge(proxy.port) as port:
        old = await Client.connect(proxy, port)
        first = old.certificate
        seen = len(proxy.log)
        put(tls / "tls.crt", b"half")
        refusal = await proxy.logged("new certificate refused, the old one stays in use")
        assert refusal["field"] == "tls.cert_file"
        still = await Client.connect(proxy, port)
        assert still.certificate == first
        renewed = proxy.authority.issue(f"*.{DOMAIN}")
        renewed.write(tls)
        await proxy.logged("certificate loaded", after=seen)

        async def presented() -> bytes:
            client = await Client.connect(proxy, port)
            client.close()
            return client.certificate.encode()

        # The supervisor has loaded it, and gives it to the worker.
        await becomes(renewed.cert, presented)
        new = await Client.connect(proxy, port)
        for client in (old, still, new):
            client.ask()
            assert await client.answer() == b"HTTP/1.1 200 OK ok"
            client.close()
    await proxy.shows('mcp_proxy_certificate_reloads_total{result="loaded"} 1.0')
    assert "PRIVATE KEY" not in proxy.transcript()


async def test_sighup_looks_at_the_files_at_once(tmp_path: Path, upstream: Upstream) -> None:
    routes = {"echo": f"http://127.0.0.1:{upstream.port}"}
    tls = {"cert_file": str(tmp_path / "tls/tls.crt"), "key_file": str(tmp_path / "tls/tls.key")}
    async with running_proxy(tmp_path, routes, tls={**tls, "poll_interval": "1h"}) as proxy:
        proxy.authority.issue(f"*.{DOMAIN}").write(tmp_path / "tls")
        proxy.process.send_signal(signal.SIGHUP)
        assert (await proxy.logged("configuration loaded"))["certificate_changed"] is True


async def test_not_ready_with_a_certificate_that_has_run_out(proxy: RunningProxy) -> None:
    seen = len(proxy.log)
    # It has to be loaded before its end.
    proxy.authority.issue(f"*.{DOMAIN}", ends_days=10 / 86400).write(proxy.home / "tls")
    await proxy.logged("certificate loaded", after=seen)

    async def not_ready() -> str:
        status, reason = await admin(proxy, "/readyz")
        return f"{status} {reason[:13]}"

    await becomes("503 expired at 20", not_ready)


async def test_a_port_in_use_stops_the_start(proxy: RunningProxy) -> None:
    text = (proxy.home / "proxy.yaml").read_text()
    other = proxy.home / "other.yaml"
    other.write_text(
        text.replace("listen_addr: 127.0.0.1:0", f"listen_addr: 127.0.0.1:{proxy.port}")
    )
    second = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mcp_proxy", "--config", str(other)),
        env={"PYTHONPATH": str(SRC)},
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await asyncio.wait_for(second.communicate(), PATIENCE)
    assert second.returncode == 1
    said = err.decode().splitlines()[-1]
    assert f"cannot start: listen_addr: cannot listen on 127.0.0.1:{proxy.port}: Address" in said


async def test_somebody_on_the_admin_port_stops_nothing_but_that(
    tmp_path: Path, upstream: Upstream
) -> None:
    upstream.answer.set()
    routes = {"echo": f"http://127.0.0.1:{upstream.port}"}
    with nobodys_port() as taken, socket.create_server(("127.0.0.1", taken)) as squatter:
        address = f"127.0.0.1:{taken}"
        proxy = prepared_proxy(tmp_path, routes, admin_addr=address)
        await proxy.launch()
        try:
            line = await proxy.logged("admin not listening", level="error")
            assert line["problem"].startswith(f"admin_addr: cannot listen on {address}: ")
            line = await proxy.logged("listening", workers=1)
            proxy.port = int(line["addresses"].rsplit(":", 1)[1])
            async with TunnelBridge(proxy.port) as port:
                client = await Client.connect(proxy, port)
                client.ask()
                assert await client.answer() == b"HTTP/1.1 200 OK ok"
                client.close()
            squatter.close()
            await proxy.logged("admin listening", address=address)
            proxy.admin_port = int(address.rsplit(":", 1)[1])
            assert await admin(proxy, "/readyz") == (200, "ready\n")
        finally:
            await proxy.kill()
