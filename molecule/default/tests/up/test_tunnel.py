"""The tunnel itself: connections as the edge counts them, calls as clients make them."""

from __future__ import annotations

import json
import subprocess

import pytest
from replicas import DOMAIN, HOSTS, LAB, LAB_NAME, await_connections, lab, only, shell
from testinfra.host import Host

ROUTES = list(LAB["upstreams"])


def test_each_host_has_four_connections(name: str, host: Host) -> None:
    await_connections(name)  # a test before may have restarted the connector
    ready = json.loads(
        host.check_output(
            "python3 -c 'import urllib.request as u;"
            'print(u.urlopen("http://127.0.0.1:20241/ready").read().decode())\''
        )
    )
    assert (ready["status"], ready["readyConnections"]) == (200, 4)
    # The same, from the other end.
    connections = json.loads(lab("edge", LAB_NAME, "status"))["connections"]
    address = next(entry["address"] for entry in LAB["hosts"] if entry["name"] == name)
    mine = [entry for entry in connections if entry["peer"] == address]
    assert sorted(entry["connIndex"] for entry in mine) == [0, 1, 2, 3]


@pytest.mark.parametrize("route", ROUTES)
def test_a_tool_call_through_each_replica_alone(name: str, route: str) -> None:
    with only(name):
        answer = lab("call", LAB_NAME, route, "echo", json.dumps({"text": f"hello {name}"}))
    assert f"hello {name}" in answer


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_curl_from_this_machine(version: str) -> None:
    """Any TLS client reaches the proxy; only its certificate and the CA decide."""
    ca = state_ca()
    done = subprocess.run(
        [
            *("curl", "--silent", "--show-error", version, "--max-time", "100"),
            *("--connect-to", f"echo.{DOMAIN}:443:{LAB['edge_front']}", "--cacert", "/dev/stdin"),
            *("--header", "Accept: application/json, text/event-stream"),
            *("--header", "Content-Type: application/json"),
            *("--data", json.dumps(INITIALIZE), f"https://echo.{DOMAIN}/mcp"),
            *("--write-out", "\n%{http_version} %{http_code} %{ssl_verify_result}"),
        ],
        input=ca,
        text=True,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    body, verdict = done.stdout.rsplit("\n", 1)
    assert verdict == f"{version.removeprefix('--http').removesuffix('.0')} 200 0"
    assert "serverInfo" in body


def test_an_unknown_name_is_answered_by_the_proxy() -> None:
    done = subprocess.run(
        [
            *("curl", "--silent", "--max-time", "100", "--cacert", "/dev/stdin"),
            *("--connect-to", f"nobody.{DOMAIN}:443:{LAB['edge_front']}"),
            *("--write-out", "\n%{http_code}", f"https://nobody.{DOMAIN}/"),
        ],
        input=state_ca(),
        text=True,
        capture_output=True,
        timeout=120,
        check=True,
    )
    body, code = done.stdout.rsplit("\n", 1)
    assert (code, body.strip()) == ("502", "No route configured for host")


def test_the_edge_does_not_see_plaintext() -> None:
    """The certificate that ends inner TLS is not signed by the edge's certificate authority."""
    done = subprocess.run(
        [
            *("curl", "--silent", "--max-time", "100", "--output", "/dev/null"),
            *("--connect-to", f"echo.{DOMAIN}:443:{LAB['edge_front']}"),
            f"https://echo.{DOMAIN}/",
        ],
        timeout=120,
        check=False,
    )
    assert done.returncode == 60  # peer certificate cannot be authenticated with known CAs


INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "curl", "version": "1"},
    },
}


def state_ca() -> str:
    return str(shell(HOSTS[0]).check_output("cat /var/lib/mcp-tunnel/default/ca.crt"))
