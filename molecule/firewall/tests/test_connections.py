"""The proxy's metrics show cloudflared's connections. Root asks for them: the proxy may not."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from test_metrics import scrape
from testinfra.host import Host

NOTE = "/run/mcp-tunnel/connections-default.json"
UNIT = "mcp-tunnel-connections"
STARTER = "mcp-tunnel-firewall-counters"
CONNECTIONS = "mcp_tunnel_ready_connections"
AGE = "mcp_tunnel_ready_connections_age_seconds"
CLOUDFLARED = "mcp-cloudflared@default"
#: Root's timer asks for the same number; this program asks for it by other means.
READY = """
import json, sys, time, urllib.error, urllib.request
def ready():
    try:
        page = urllib.request.urlopen("http://127.0.0.1:20241/ready", timeout=60)
    except urllib.error.HTTPError as error:
        page = error
    except OSError:
        return 0
    return json.load(page)["readyConnections"]
for _ in range(2400):
    if ready() >= int(sys.argv[1]):
        break
    time.sleep(0.1)
print(ready())
"""


def ask(host: Host) -> None:
    """Do at once what the timer does by and by; what it is at was asked before."""
    host.check_output(f"systemctl restart {UNIT}.service")


def ready(host: Host, wanted: int = 0) -> int:
    """Return the number of connections from /ready, after waiting for at least *wanted*."""
    return int(host.check_output(f"python3 -c %s {wanted}", READY))


@pytest.fixture
def disconnected(host: Host) -> Iterator[Host]:
    """The host without a cloudflared, and without the timer."""
    host.check_output(f"systemctl stop {STARTER}.timer {CLOUDFLARED}")
    yield host
    host.check_output(f"systemctl start {CLOUDFLARED} {STARTER}.timer")
    ready(host, 4)
    ask(host)


def test_the_metrics_have_the_connections_that_are_ready(host: Host) -> None:
    assert ready(host, 4) == 4
    ask(host)
    page = scrape(host)
    assert page[CONNECTIONS] == 4
    assert page[AGE] < 3600


def test_without_cloudflared_there_are_none(disconnected: Host) -> None:
    ask(disconnected)
    assert scrape(disconnected)[CONNECTIONS] == 0
    note = disconnected.file(NOTE)
    assert json.loads(note.content_string) == {"readyConnections": 0, "drained": False}
    assert (note.user, note.group, oct(note.mode)) == ("root", "mcp-proxy", "0o640")


def test_the_timer_of_the_counters_starts_it(host: Host) -> None:
    assert f"{UNIT}.service" in host.check_output(f"systemctl show -P Wants {STARTER}.service")
    assert host.check_output(f"systemctl show -P Result {UNIT}.service") == "success"


def test_the_one_who_asks_may_do_nothing_else(host: Host) -> None:
    listed = host.check_output(f"systemctl show --all {UNIT}.service").splitlines()
    shown = dict(line.split("=", 1) for line in listed if "=" in line)
    assert shown["CapabilityBoundingSet"] == ""
    assert shown["RestrictAddressFamilies"] == "AF_INET"
    assert (shown["NoNewPrivileges"], shown["ProtectSystem"]) == ("yes", "strict")
    assert shown["SystemCallFilter"]
