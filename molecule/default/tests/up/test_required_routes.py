"""An upstream that is down stops a deployment, unless its route is not required or in maintenance.

Clients of a route in maintenance hear that they may come back.
"""

from __future__ import annotations

import json
import re
import subprocess

from replicas import DOMAIN, HOSTS, LAB, LAB_NAME, lab, play, shell

HERE = ("--limit", HOSTS[1])
# Nothing listens there.
DOWN = "http://10.77.0.2:9"
VALUES = {
    "mcp_tunnel_routes": {**LAB["upstreams"], "dead": DOWN, "closed": DOWN},
    "mcp_tunnel_required_routes": ["echo", "closed"],
    "mcp_tunnel_route_options": {"closed": {"maintenance": True, "retry_after": "10m"}},
}


def answer(route: str) -> list[str]:
    """Return the lines of the answer that a client gets from the second replica."""
    lab("edge", LAB_NAME, "pin", HOSTS[1])
    try:
        done = subprocess.run(
            [
                *("curl", "--silent", "--show-error", "--include", "--max-time", "100"),
                *("--connect-to", f"{route}.{DOMAIN}:443:{LAB['edge_front']}"),
                *("--cacert", "/dev/stdin", f"https://{route}.{DOMAIN}/"),
            ],
            input=shell(HOSTS[0]).check_output("cat /var/lib/mcp-tunnel/default/ca.crt"),
            text=True,
            capture_output=True,
            timeout=120,
            check=True,
        )
    finally:
        lab("edge", LAB_NAME, "unpin")
    return done.stdout.lower().splitlines()


def test_an_upstream_that_is_down_and_not_required_or_in_maintenance() -> None:
    try:
        done = play(*HERE, "--extra-vars", json.dumps(VALUES))
        assert done.returncode == 0, done.stdout[-3000:]
        assert re.search(r"route +dead.* down\b", done.stdout), done.stdout[-3000:]
        assert re.search(r"route +closed.* maintenance\b", done.stdout), done.stdout[-3000:]
        assert "FAILED" not in done.stdout
        told = shell(HOSTS[1]).run("mcp-tunnel status")
        assert told.rc == 0, told.stdout
        assert "dead" in told.stdout
        head = answer("closed")
        assert " 503" in head[0]
        assert "retry-after: 600" in head
    finally:
        done = play(*HERE)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "dead" not in shell(HOSTS[1]).check_output("cat /etc/mcp-tunnel/default/proxy.yaml")
