"""What the API or the state host refuses: before any effect, with a remedy.

What each rule is in full is tested with the modules; here is what an operator sees.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from deployed import stored
from replicas import HOSTS, LAB, LAB_NAME, lab, play, recap
from tunnels_api import status

# An instance beside the deployed one, so that nothing is stored yet.
OTHER = {
    "mcp_tunnel_instance": "other",
    "mcp_tunnel_display_name": "",
    "proxy_listen_port": 9080,
    "proxy_admin_port": 9081,
    "cloudflared_metrics_port": 9241,
}
ALGORITHM_HS256 = ("--algorithm", "HS256")


def token(*options: str) -> dict[str, Any]:
    issued = lab("api", LAB_NAME, "identity", "gcp", *options).strip()
    return {"mcp_tunnel_identity": {"source": "literal", "literal": issued}}


def refused(values: dict[str, Any]) -> str:
    """Run the play with the values; return what it said. The API's state stays what it was."""
    before = status()
    # The leader is the one on whose behalf all of this happens.
    done = play("--limit", HOSTS[0], "--extra-vars", json.dumps(values))
    assert done.returncode != 0, done.stdout
    assert all(counters["changed"] == 0 for counters in recap(done.stdout).values()), done.stdout
    after = status()
    assert {**before, "access_tokens": 0} == {**after, "access_tokens": 0}
    return " ".join((done.stdout + done.stderr).split())


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({**OTHER, "mcp_tunnel_id": "tnl_01Unknown"}, ("tnl_01Unknown", "is unknown")),
        ({"mcp_tunnel_id": "tnl_01Another"}, ("mcp_tunnel_id", "tnl_01Another")),
        ({"mcp_tunnel_display_name": "another"}, ("display_name", "another", "laboratory")),
        (
            {"mcp_tunnel_identity": {"source": "file", "file": "/nowhere/token"}},
            ("/nowhere/token", "does not exist"),
        ),
        (
            {"mcp_tunnel_identity": {"source": "file", "file": "/dev/null"}},
            ("identity token", "is empty"),
        ),
        ({"mcp_tunnel_api_url": "http://api.anthropic.com"}, ("mcp_tunnel_api_url", "https")),
        (
            {"mcp_tunnel_workspace_id": "wrkspc_01Other"},
            ("Authentication failed", "fdrl_", "Console"),
        ),
    ],
    ids=[
        "unknown tunnel",
        "another tunnel than the stored one",
        "another name than the tunnel's",
        "no token file",
        "empty token file",
        "plain http",
        "another workspace",
    ],
)
def test_values(values: dict[str, Any], said: tuple[str, ...]) -> None:
    output = refused(values)
    assert [text for text in said if text not in output] == [], output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--claims", '{"exp": 1700000000}'), "expired"),
        (("--claims", '{"aud": "https://elsewhere.example"}'), "https://elsewhere.example"),
        (ALGORITHM_HS256, "HS256"),
    ],
    ids=["expired", "another audience", "symmetric"],
)
def test_identity_tokens(options: tuple[str, ...], said: str) -> None:
    output = refused(token(*options))
    assert said in output, output


def test_a_tunnel_of_another_workspace_is_not_found() -> None:
    """The one for manual mode."""
    output = refused({**OTHER, "mcp_tunnel_id": LAB["tunnel_id"]})
    assert LAB["tunnel_id"] in output
    assert stored("tunnel-id") != LAB["tunnel_id"]
