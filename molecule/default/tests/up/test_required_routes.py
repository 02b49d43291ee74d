"""An upstream that is down stops a deployment, unless its route is not required."""

from __future__ import annotations

import json
import re

from replicas import HOSTS, LAB, play, shell

HERE = ("--limit", HOSTS[1])
# Nothing listens there.
ROUTES = {**LAB["upstreams"], "dead": "http://10.77.0.2:9"}


def test_an_upstream_that_is_down_and_not_required() -> None:
    values = {"mcp_tunnel_routes": ROUTES, "mcp_tunnel_required_routes": ["echo"]}
    try:
        done = play(*HERE, "--extra-vars", json.dumps(values))
        assert done.returncode == 0, done.stdout[-3000:]
        assert re.search(r"route +dead.* down\b", done.stdout), done.stdout[-3000:]
        assert "FAILED" not in done.stdout
        told = shell(HOSTS[1]).run("mcp-tunnel status")
        assert told.rc == 0, told.stdout
        assert "dead" in told.stdout
    finally:
        done = play(*HERE)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "dead" not in shell(HOSTS[1]).check_output("cat /etc/mcp-tunnel/default/proxy.yaml")
