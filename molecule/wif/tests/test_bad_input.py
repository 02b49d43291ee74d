"""The API or the state host refuses input before any effect, and the message has a remedy.

Every rule is tested in full with the modules; these tests show what an operator sees.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from replicas import HOSTS, LAB, LAB_NAME, lab, play, recap, unquoted
from tunnels_api import status

ALGORITHM_HS256 = ("--algorithm", "HS256")


def token(*options: str) -> dict[str, Any]:
    issued = lab("api", LAB_NAME, "identity", "gcp", *options).strip()
    return {"mcp_tunnel_identity": {"source": "literal", "literal": issued}}


def refused(*arguments: str) -> tuple[str, dict[str, dict[str, int]]]:
    """Run the play; return its output and recap. The API's state stays the same."""
    before = status()
    done = play(*arguments)
    assert done.returncode != 0, done.stdout
    counters = recap(done.stdout)
    assert all(each["changed"] == 0 for each in counters.values()), done.stdout
    after = status()
    assert {**before, "access_tokens": 0} == {**after, "access_tokens": 0}
    return done.stdout + done.stderr, counters


# For an instance that has nothing stored yet.
VALUES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "unknown_tunnel": ({"mcp_tunnel_id": "tnl_01Unknown"}, ("tnl_01Unknown", "is unknown")),
    # The playbook for manual mode.
    "tunnel_of_another_workspace": ({"mcp_tunnel_id": LAB["tunnel_id"]}, (LAB["tunnel_id"],)),
    "no_token_file": (
        {"mcp_tunnel_identity": {"source": "file", "file": "/nowhere/token"}},
        ("/nowhere/token", "does not exist"),
    ),
    "empty_token_file": (
        {"mcp_tunnel_identity": {"source": "file", "file": "/dev/null"}},
        ("identity token", "is empty"),
    ),
    "another_workspace": (
        {"mcp_tunnel_workspace_id": "wrkspc_01Other"},
        ("Authentication failed", "fdrl_", "Console"),
    ),
}
# Claims and algorithm of an identity token, and what the message must name.
TOKENS = {
    "expired": (("--claims", '{"exp": 1700000000}'), "expired"),
    "another_audience": (
        ("--claims", '{"aud": "https://elsewhere.example"}'),
        "https://elsewhere.example",
    ),
    "symmetric": (ALGORITHM_HS256, "HS256"),
}


def test_what_the_api_refuses(tmp_path: Path) -> None:
    """All in one run: each case is an instance of its own, beside the deployed one."""
    cases = VALUES | {name: (token(*options), (said,)) for name, (options, said) in TOKENS.items()}
    hosts = {
        name: {
            **{"ansible_host": HOSTS[0], "mcp_tunnel_instance": f"case{number}"},
            "mcp_tunnel_display_name": "",
            **{"proxy_listen_port": 9000 + number, "proxy_admin_port": 9100 + number},
            "cloudflared_metrics_port": 9200 + number,
            **values,
        }
        for number, (name, (values, _said)) in enumerate(cases.items())
    }
    extra = tmp_path / "cases.json"
    extra.write_text(json.dumps({"mcp_tunnel": {"hosts": hosts}}))
    limit = ",".join(cases)
    output, counters = refused("--inventory", str(extra), "--limit", limit)
    assert {name: each["failed"] for name, each in counters.items()} == dict.fromkeys(cases, 1)
    _head, *parts = re.split(r"^fatal: \[(.+?)\]: ", output, flags=re.MULTILINE)
    messages = {name: unquoted(text) for name, text in zip(parts[::2], parts[1::2])}
    for name, (_values, said) in cases.items():
        assert [text for text in said if text not in messages[name]] == [], messages[name]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"mcp_tunnel_id": "tnl_01Another"}, ("mcp_tunnel_id", "tnl_01Another")),
        pytest.param(
            {"mcp_tunnel_display_name": "another"},
            ("display_name", "another", "laboratory"),
            marks=pytest.mark.exhaustive,
        ),
        pytest.param(
            {"mcp_tunnel_api_url": "http://api.anthropic.com"},
            ("mcp_tunnel_api_url", "https"),
            marks=pytest.mark.exhaustive,
        ),
    ],
    ids=["another tunnel than the stored one", "another name than the tunnel's", "plain http"],
)
def test_what_does_not_fit_the_deployed_instance(
    values: dict[str, Any], said: tuple[str, ...]
) -> None:
    # All of this happens on behalf of the leader.
    output, _counters = refused("--limit", HOSTS[0], "--extra-vars", json.dumps(values))
    output = unquoted(output)
    assert [text for text in said if text not in output] == [], output
