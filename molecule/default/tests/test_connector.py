"""The connector in a less friendly world: foreign files, lost UDP, a stop with open streams."""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import journal
import pytest
from replicas import (
    DOMAIN,
    HOSTS,
    LAB,
    LAB_NAME,
    await_connections,
    lab,
    shell,
    state_host,
)
from testinfra.host import Host

UNIT = "mcp-cloudflared@default"
ENVIRONMENT = "/etc/mcp-tunnel/default/cloudflared.env"
#: cloudflared looks here by itself: below the home of a user whose home is /, and for everybody.
FOREIGN = (
    "/.cloudflared/config.yml",
    "/.cloudflare-warp/config.yml",
    "/cloudflare-warp/config.yml",
    "/etc/cloudflared/config.yml",
    "/usr/local/etc/cloudflared/config.yaml",
)
_SECONDS = 60  # what the health gate gives a replica


def asked(host: Host, path: str) -> dict[str, Any]:
    """Return what the connector answers root on its metrics port, whatever the status."""
    program = (
        "import urllib.request, urllib.error\n"
        "try:\n"
        f"    answer = urllib.request.urlopen('http://127.0.0.1:20241{path}', timeout=30)\n"
        "except urllib.error.HTTPError as error:\n"
        "    answer = error\n"
        "except OSError:\n"
        "    print('{}')\n"
        "    raise SystemExit\n"
        "print(answer.read().decode())\n"
    )
    found: dict[str, Any] = json.loads(host.check_output("python3 -c %s", program))
    return found


def connected(host: Host) -> bool:
    """Return whether all four connections are up before the gate would give the replica up."""
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        if asked(host, "/ready").get("readyConnections") == 4:
            return True
        time.sleep(0.5)
    return False


@contextmanager
def open_stream(name: str) -> Iterator[ssl.SSLSocket]:
    """Open a client's connection to one host's proxy, and ask nothing on it."""
    context = ssl.create_default_context(
        cadata=state_host().check_output("cat /var/lib/mcp-tunnel/default/ca.crt")
    )
    front, _, port = LAB["edge_front"].rpartition(":")
    lab("edge", LAB_NAME, "pin", name)
    try:
        with socket.create_connection((front, int(port)), timeout=240) as plain:
            with context.wrap_socket(plain, server_hostname=f"echo.{DOMAIN}") as stream:
                yield stream
    finally:
        lab("edge", LAB_NAME, "unpin")


def test_a_stop_with_an_open_stream_ends_cleanly() -> None:
    """A second signal follows the grace period, here 2 s: no SIGKILL, no failed unit."""
    name = HOSTS[-1]
    host = shell(name)
    host.check_output(
        f"sed --in-place=.kept s/^MCP_STOP_SECONDS=.*/MCP_STOP_SECONDS=2/ {ENVIRONMENT}"
    )
    try:
        with open_stream(name):
            host.check_output(f"systemctl stop {UNIT}")
        shown = host.check_output(
            f"systemctl show --property=ActiveState,Result,ExecMainCode,ExecMainStatus {UNIT}"
        )
        # Killed (2) by SIGTERM (15): a success to systemd. After SIGKILL, the unit would be failed.
        assert set(shown.splitlines()) == {
            "ActiveState=inactive",
            "Result=success",
            "ExecMainCode=2",
            "ExecMainStatus=15",
        }
    finally:
        host.check_output(f"mv {ENVIRONMENT}.kept {ENVIRONMENT}")
        host.check_output(f"systemctl reset-failed {UNIT}; systemctl start {UNIT}")
        await_connections(name)


@pytest.fixture(scope="module")
def strained() -> Iterator[Host]:
    """A host whose connector was started among foreign files, with UDP lost on the way."""
    host = shell(HOSTS[0])
    lab("edge", LAB_NAME, "mute")
    try:
        for path in FOREIGN:
            host.check_output(
                "install -D -m 0644 /dev/stdin %s <<END\ningress:\n- service: http://127.0.0.1:9\nEND\n",
                path,
            )
        host.check_output(f"systemctl restart {UNIT}")
        yield host
    finally:
        lab("edge", LAB_NAME, "unmute")
        for path in FOREIGN:
            host.check_output(
                "rm -f %s && rmdir --ignore-fail-on-non-empty %s", path, path.rpartition("/")[0]
            )
        host.check_output(f"systemctl restart {UNIT}")
        await_connections(HOSTS[0])


def test_lost_udp_does_not_cost_the_gate(strained: Host) -> None:
    assert connected(strained)


def test_a_foreign_configuration_is_not_taken(strained: Host) -> None:
    rules = asked(strained, "/config")["config"]["ingress"]
    assert [rule["service"] for rule in rules] == ["http://127.0.0.1:8080"]


def test_nothing_is_probed_that_no_rule_allows(strained: Host) -> None:
    """Pre-checks would try api.cloudflare.com, which our rules refuse, log and count."""
    started = strained.check_output(f"systemctl show --property=InvocationID --value {UNIT}")
    log = journal.read(strained, f"_SYSTEMD_INVOCATION_ID={started}")
    assert "Starting tunnel" in log
    assert "PRE-CHECKS" not in log
