"""The laboratory's stand-in for cloudflared and the real one, held to the same cases.

They run against the stand-in, and against the real one with CLOUDFLARED_BINARY=/path (see
lab.tests.loopback for how). Each case is something that was measured with the real one and that
our units, health checks or alerts rest on.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.tests.loopback import PATIENCE, Connector, Tunnel, receive, wait_for

_ELSEWHERE = "http://127.0.0.1:9"
_QUIC_FIRST = '[{"protocol":"quic","percentage":100}]'


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tunnel]:
    made = Tunnel(tmp_path_factory.mktemp("tunnel"))
    made.start_origin()
    yield made
    made.end()


@pytest.fixture
def tunnel(shared: Tunnel) -> Iterator[Tunnel]:
    """An edge without connectors, and an origin that echoes."""
    yield shared
    shared.end_connectors()
    shared.edge.ask("unmute")
    wait_for(lambda: not shared.edge.connections)


@pytest.fixture
def resolver(tmp_path: Path) -> Iterator[Path]:
    """A resolv.conf whose server says QUIC first and knows no other name."""
    address = f"127.{os.getpid() >> 8 & 0x7F}.{os.getpid() & 0xFF}.53"
    quoted = '"' + _QUIC_FIRST.replace('"', '\\"') + '"'
    config = tmp_path / "dnsmasq.conf"
    config.write_text(
        "no-resolv\nno-hosts\nkeep-in-foreground\npid-file=\nuser=root\nbind-interfaces\n"
        f"listen-address={address}\naddress=/#/\ntxt-record=protocol-v2.argotunnel.com,{quoted}\n"
    )
    file = tmp_path / "resolv.conf"
    file.write_text(f"nameserver {address}\n")
    process = subprocess.Popen(["dnsmasq", f"--conf-file={config}", "--log-facility=-"])
    wait_for(lambda: _accepts(address))
    yield file
    process.kill()
    process.wait()


def _accepts(address: str) -> bool:
    try:
        socket.create_connection((address, 53), timeout=1).close()
    except OSError:
        return False
    return True


def _origin(tunnel: Tunnel) -> str:
    assert tunnel.origin is not None
    return f"http://127.0.0.1:{tunnel.origin.socket.getsockname()[1]}"


def _is_ready(connector: Connector) -> bool:
    try:
        return connector.get("/ready")[0] == 200
    except OSError:
        return False


def _started(tunnel: Tunnel, home: Path) -> Connector:
    """A connector for the origin that echoes, with at least one connection."""
    connector = tunnel.connect("run", "--url", _origin(tunnel), home=home)
    wait_for(lambda: _is_ready(connector))
    return connector


def _rules(connector: Connector) -> list[str]:
    config = json.loads(connector.get("/config")[1])["config"]
    return [rule["service"] for rule in config["ingress"]]


def _foreign(tmp_path: Path, text: str, name: str = ".cloudflared/config.yml") -> None:
    """A configuration file that nobody has given to the connector."""
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def _metric(connector: Connector, name: str) -> list[str]:
    return [line for line in connector.get("/metrics")[1].splitlines() if line.startswith(name)]


@pytest.mark.parametrize("name", [".cloudflared/config.yml", "cloudflare-warp/config.yaml"])
def test_a_foreign_file_wins_over_url(tunnel: Tunnel, tmp_path: Path, name: str) -> None:
    """Nothing else shows it: connections are up, and /ready reports success."""
    _foreign(tmp_path, f"ingress:\n  - service: {_ELSEWHERE}\n", name)
    connector = _started(tunnel, tmp_path)
    assert _rules(connector) == [_ELSEWHERE]
    with tunnel.edge.client() as client:
        assert client.recv(1) == b""
    assert "answered 502" in tunnel.edge.ask("status")["last_failure"]


def test_a_foreign_file_changes_flags(tunnel: Tunnel, tmp_path: Path) -> None:
    """The file sets flags that are not on the command line: two connections, not four."""
    _foreign(tmp_path, "ha-connections: 2\nmetrics: 127.0.0.1:1\n")
    connector = _started(tunnel, tmp_path)
    wait_for(lambda: connector.has(2))
    tunnel.connected()  # begins later, and has got its third and its fourth by now
    assert connector.has(2)
    assert _rules(connector) == [_origin(tunnel)]


@pytest.mark.parametrize(
    ("text", "status", "log"),
    [
        ("ingress: [", 1, "error parsing YAML in config file"),
        ("token: not-a-token\n", 255, "Provided Tunnel token is not valid."),
        ("ingress:\n  - hostname: a.example\n    service: http://127.0.0.1:1\n", 1, "last ingress"),
    ],
)
def test_a_foreign_file_ends_it(
    tunnel: Tunnel, tmp_path: Path, text: str, status: int, log: str
) -> None:
    _foreign(tmp_path, text)
    connector = tunnel.connect("run", "--url", _ELSEWHERE, home=tmp_path)
    assert connector.process.wait(PATIENCE) == status
    assert log in connector.log


def test_the_edge_pushes_a_configuration(tunnel: Tunnel, tmp_path: Path) -> None:
    """The pushed configuration replaces the one rule that leads to --url."""
    connector = _started(tunnel, tmp_path)
    config = json.loads(connector.get("/config")[1])
    assert config["version"] == -1
    (rule,) = config["config"]["ingress"]
    assert {name: rule[name] for name in ("hostname", "path", "service")} == {
        "hostname": "",
        "path": None,
        "service": _origin(tunnel),
    }
    (answer,) = tunnel.edge.ask("push", json.dumps({"ingress": [{"service": _ELSEWHERE}]}))[
        "answers"
    ]
    assert answer["err"] is None
    version = answer["lastAppliedVersion"]
    assert json.loads(connector.get("/config")[1])["version"] == version
    assert _rules(connector) == [_ELSEWHERE]
    assert _metric(connector, "cloudflared_orchestration_config_version") == [
        f"cloudflared_orchestration_config_version {version}"
    ]
    with tunnel.edge.client() as client:
        assert client.recv(1) == b""
    assert connector.get("/ready")[0] == 200


def test_only_ready_tells_that_the_edge_is_gone(tmp_path: Path) -> None:
    """`ha_connections` counts attempts, and `server_locations` keeps past locations."""
    tunnel = Tunnel(tmp_path)
    try:
        connected = tunnel.connected()
        locations = _metric(connected, "cloudflared_tunnel_server_locations")
        assert len(locations) == 4
        tunnel.edge.process.kill()
        tunnel.edge.process.wait()
        wait_for(lambda: connected.has(0))
        assert _metric(connected, "cloudflared_tunnel_server_locations") == locations
        never = tunnel.connect()
        wait_for(lambda: "Unable to establish connection with Cloudflare edge" in never.log)
        status, body = never.get("/ready")
        assert (status, json.loads(body)["readyConnections"]) == (503, 0)
        assert _metric(never, "cloudflared_tunnel_ha_connections") == [
            "cloudflared_tunnel_ha_connections 1"
        ]
    finally:
        tunnel.end()


@pytest.mark.parametrize(("period", "refused"), [("3m", False), ("3m1s", True)])
def test_the_longest_grace_period(tunnel: Tunnel, period: str, refused: bool) -> None:
    connector = tunnel.connect("--grace-period", period, "run", "--url", _ELSEWHERE)
    if refused:
        assert connector.process.wait(PATIENCE) == 1
        assert "grace-period must be equal or less than 3m0s" in connector.log
    else:
        wait_for(lambda: _is_ready(connector))


def test_a_stop_waits_for_a_stream_beyond_the_grace_period(tunnel: Tunnel) -> None:
    """A second signal ends it: by that signal, which systemd counts as a clean exit."""
    connector = tunnel.connected("--grace-period", "1s", "run", "--url", _origin(tunnel))
    with tunnel.edge.client() as client:
        client.sendall(b"open")
        assert receive(client, 4) == b"open"
        connector.process.send_signal(signal.SIGTERM)
        wait_for(lambda: connector.log.count("Unregistered tunnel connection") == 4)
        with pytest.raises(subprocess.TimeoutExpired):
            connector.process.wait(3)
        client.sendall(b"more")
        assert receive(client, 4) == b"more"
        connector.process.send_signal(signal.SIGTERM)
        assert connector.process.wait(PATIENCE) == -signal.SIGTERM


def test_prechecks_only_where_they_are_wanted(tunnel: Tunnel, resolver: Path) -> None:
    without = tunnel.connect(resolver=resolver)
    probing = tunnel.connect("--no-prechecks=false", resolver=resolver)
    wait_for(lambda: "CONNECTIVITY PRE-CHECKS" in probing.log)
    wait_for(lambda: _is_ready(without))
    assert "CONNECTIVITY PRE-CHECKS" not in without.log
    assert "api.cloudflare.com:443" not in without.log


def test_lost_udp_costs_time(tunnel: Tunnel, resolver: Path) -> None:
    """`auto` begins with QUIC where the DNS says so; only silence tells that UDP is lost."""
    tunnel.edge.ask("mute")
    auto = ("--protocol", "auto")
    patient = tunnel.connect(*auto, resolver=resolver)
    hasty = tunnel.connect(*auto, "--max-edge-addr-retries", "0", resolver=resolver)
    wait_for(lambda: _is_ready(hasty))
    assert "Initial protocol quic" in hasty.log
    assert "Failed to dial a quic connection" in hasty.log
    assert "Switching to fallback protocol http2" in hasty.log
    assert "protocol=http2" in hasty.log
    # Two processes: nothing says that this one has got as far as the other.
    wait_for(lambda: "Failed to dial a quic connection" in patient.log)
    assert patient.has(0)


def test_an_open_udp_socket_while_quic_is_tried(tunnel: Tunnel, resolver: Path) -> None:
    """The socket is bound to every address and is not connected."""
    tunnel.edge.ask("mute")
    connector = tunnel.connect("--protocol", "quic", resolver=resolver)
    wait_for(lambda: _udp_sockets(connector.process.pid) == [("0", "0")])
    assert connector.has(0)


def _udp_sockets(pid: int) -> list[tuple[str, str]]:
    """Local and remote address, as numbers, of a process's UDP sockets."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            inodes.add(os.readlink(descriptor))
        except OSError:
            continue
    found = []
    for table in ("udp", "udp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if f"socket:[{words[9]}]" in inodes:
                local, remote = (word.partition(":")[0].strip("0") or "0" for word in words[1:3])
                found.append((local, remote))
    return found


def test_without_an_answer_of_the_dns_it_is_http2(tunnel: Tunnel, resolver: Path) -> None:
    config = resolver.with_name("resolv-silent.conf")
    config.write_text("nameserver 127.0.0.1\n")
    connector = tunnel.connect("--protocol", "auto", resolver=config)
    wait_for(lambda: _is_ready(connector))
    assert "Initial protocol http2" in connector.log
