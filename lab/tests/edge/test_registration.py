"""The life of a connector at the edge: registration, refusal, rotation, loss, shutdown."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from lab.core.credentials import Tunnel as Credentials
from lab.tests.loopback import PATIENCE, Tunnel, receive, wait_for


def test_four_connections(tunnel: Tunnel) -> None:
    connector = tunnel.connected("run", "--url", tunnel.start_origin())
    status, body = connector.get("/ready")
    ready = json.loads(body)
    assert list(ready) == ["status", "readyConnections", "connectorId"]
    assert (status, ready["status"], ready["readyConnections"]) == (200, 200, 4)
    assert sorted(each["connIndex"] for each in tunnel.edge.connections) == [0, 1, 2, 3]
    assert {each["connector"] for each in tunnel.edge.connections} == {ready["connectorId"]}
    assert connector.log.count("INF Registered tunnel connection connIndex=") == 4
    metrics = connector.get("/metrics")[1].splitlines()
    assert "cloudflared_tunnel_ha_connections 4" in metrics
    success = 'cloudflared_tunnel_tunnel_register_success{rpcName="registerConnection"} 4'
    assert success in metrics


def test_wrong_secret_is_retried_for_ever(tunnel: Tunnel, tmp_path: Path) -> None:
    token = tmp_path / "wrong"
    token.write_text(tunnel.edge.tunnel.rotated().token)
    connector = tunnel.connect("run", "--url", "http://127.0.0.1:9", token=token)
    refused = 'Register tunnel error from server side error="Unauthorized: Invalid tunnel secret"'
    wait_for(lambda: connector.log.count(refused) >= 2)
    assert connector.process.poll() is None
    status, body = connector.get("/ready")
    assert (status, json.loads(body)["readyConnections"]) == (503, 0)
    assert tunnel.edge.connections == []


@pytest.mark.parametrize(
    ("change", "cause"), [("account", "Invalid account"), ("uuid", "Tunnel not found")]
)
def test_other_tunnel(tunnel: Tunnel, tmp_path: Path, change: str, cause: str) -> None:
    other = Credentials.make()
    ours = tunnel.edge.tunnel
    fields = {"account": ours.account, "uuid": ours.uuid, change: getattr(other, change)}
    token = tmp_path / "other"
    token.write_text(Credentials(ours.id, ours.domain, secret=ours.secret, **fields).token)
    connector = tunnel.connect(token=token)
    wait_for(lambda: f"Unauthorized: {cause}" in connector.log)


def test_lost_connections_come_back(tunnel: Tunnel) -> None:
    connector = tunnel.connected()
    assert tunnel.edge.ask("drop") == {"dropped": 4}
    # Each comes back in its own time, so that there need not be a moment without any.
    wait_for(lambda: connector.log.count("INF Lost connection with the edge") >= 4)
    wait_for(lambda: connector.log.count("INF Registered tunnel connection") >= 8)
    wait_for(lambda: connector.has(4))


def test_refused_registrations(tunnel: Tunnel) -> None:
    connector = tunnel.connected()
    tunnel.edge.ask("refuse")
    tunnel.edge.ask("drop")
    wait_for(lambda: "Registrations are refused for now" in connector.log)
    wait_for(lambda: connector.has(0))
    assert connector.get("/ready")[0] == 503
    assert connector.process.poll() is None
    tunnel.edge.ask("accept")
    wait_for(lambda: connector.has(4))


def test_rotation(tunnel: Tunnel) -> None:
    """Live connections keep working; the old secret is refused, the new one is not."""
    connector = tunnel.connected("run", "--url", tunnel.start_origin())
    with tunnel.edge.client() as client:
        tunnel.edge.ask("rotate")
        client.sendall(b"still here")
        assert receive(client, 10) == b"still here"
    with tunnel.edge.client() as client:
        client.sendall(b"new client")
        assert receive(client, 10) == b"new client"
    tunnel.edge.ask("drop")
    wait_for(lambda: "Unauthorized: Invalid tunnel secret" in connector.log)
    assert tunnel.connected().ready()["readyConnections"] == 4


def test_vanished_connector_is_forgotten(tunnel: Tunnel) -> None:
    """As when a host loses power: no packet announces the end."""
    connector = tunnel.connected()
    connector.process.send_signal(signal.SIGSTOP)
    wait_for(lambda: tunnel.edge.connections == [])


def test_idle_connector_stops_at_once(tunnel: Tunnel) -> None:
    """It does not wait for the grace period, which is longer than the test's patience."""
    connector = tunnel.connected("--grace-period", "3m")
    connector.process.send_signal(signal.SIGTERM)
    assert connector.process.wait(PATIENCE) == 0
    assert connector.log.count("Unregistered tunnel connection") == 4
    wait_for(lambda: tunnel.edge.connections == [])


def test_open_stream_delays_the_stop(tunnel: Tunnel) -> None:
    """Vendor behaviour on HTTP/2: streams are waited for; a draining connector gets no new ones."""
    connector = tunnel.connected("run", "--url", tunnel.start_origin())
    with tunnel.edge.client() as client:
        client.sendall(b"open")
        assert receive(client, 4) == b"open"
        connector.process.send_signal(signal.SIGTERM)
        wait_for(lambda: connector.log.count("Unregistered tunnel connection") == 4)
        with tunnel.edge.client() as late:
            assert late.recv(1) == b""
        client.sendall(b"more")
        assert receive(client, 4) == b"more"
        assert connector.process.poll() is None
    assert connector.process.wait(PATIENCE) == 0


def test_second_signal_ends_at_once(tunnel: Tunnel) -> None:
    connector = tunnel.connected("run", "--url", tunnel.start_origin())
    with tunnel.edge.client() as client:
        client.sendall(b"open")
        assert receive(client, 4) == b"open"
        connector.process.send_signal(signal.SIGTERM)
        wait_for(lambda: "Unregistered tunnel connection" in connector.log)
        # The first one alone would wait for the open stream.
        connector.process.send_signal(signal.SIGTERM)
        assert connector.process.wait(PATIENCE) == -signal.SIGTERM


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["tunnel", "run", "--token-file", "/nowhere"], 255, "no such file or directory"),
        (["tunnel", "run", "--token", "not a token"], 255, "Provided Tunnel token is not valid."),
        (["tunnel", "run", "--token", "eyJ0IjoieCJ9"], 255, "Provided Tunnel token is not valid."),
        # Measured: the vendor does not count a wrong command line as a failure.
        (["tunnel", "--bogus", "run"], 0, "flag provided but not defined: -bogus"),
        (["tunnel", "run", "--metrics", "x"], 0, "flag provided but not defined: -metrics"),
        (["--version"], 0, "cloudflared version 2026."),
    ],
)
def test_command_line(tunnel: Tunnel, arguments: list[str], status: int, text: str) -> None:
    done = subprocess.run(
        [str(tunnel.binary), *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert text in done.stdout + done.stderr
    assert done.returncode == status
