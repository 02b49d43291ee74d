from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import (
    proxy_config,
    settings,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight.routes import check_routes
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight.wif import check_wif
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.tokens import make_token
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.variables import good


def programmatic(**changes):
    """Return the variables that an operator must set in mode wif, with *changes*."""
    return good(
        **{
            "mcp_tunnel_mode": "wif",
            "mcp_tunnel_domain": "",
            "mcp_tunnel_federation_rule_id": "fdrl_01AbCd",
            "mcp_tunnel_organization_id": "6f5b1c0e-5f0a-4c57-9d9e-2f0a7e1f4b2c",
            "mcp_tunnel_identity": {"source": "file", "file": "/run/identity-token"},
            **changes,
        }
    )


def told(**changes):
    values = programmatic(**changes)
    problems = [
        *settings.check_all(values),
        *check_routes(values, proxy_config.judge(values)),
        *check_wif(values),
    ]
    return [str(problem) for problem in problems]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"mcp_tunnel_id": "tnl_0123456789", "mcp_tunnel_workspace_id": "default"},
        {"mcp_tunnel_domain": "abcd1234.tunnel.example"},
        {"mcp_tunnel_identity": {"source": "gcp", "audience": "api.anthropic.com"}},
        {"mcp_tunnel_identity": {"source": "command", "command": ["issue-token", "--now"]}},
        {"mcp_tunnel_api_url": "http://127.0.0.1:8080"},
    ],
)
def test_good_values(changes):
    assert told(**changes) == []


@pytest.mark.parametrize(
    ("changes", "subject", "what"),
    [
        ({"mcp_tunnel_token": make_token()}, "mcp_tunnel_token", "mode wif fetches"),
        (
            {"mcp_tunnel_federation_rule_id": ""},
            "mcp_tunnel_federation_rule_id",
            "looks like fdrl_",
        ),
        (
            {"mcp_tunnel_federation_rule_id": "rule1"},
            "mcp_tunnel_federation_rule_id",
            "looks like fdrl_",
        ),
        ({"mcp_tunnel_organization_id": "acme"}, "mcp_tunnel_organization_id", "not a UUID"),
        ({"mcp_tunnel_workspace_id": "main"}, "mcp_tunnel_workspace_id", "looks like wrkspc_"),
        ({"mcp_tunnel_service_account_id": "me"}, "mcp_tunnel_service_account_id", "svac_"),
        ({"mcp_tunnel_api_url": "http://api.example"}, "mcp_tunnel_api_url", "plain http"),
        ({"mcp_tunnel_id": "6f5b1c0e-5f0a-4c57-9d9e-2f0a7e1f4b2c"}, "mcp_tunnel_id", "UUID"),
        ({"mcp_tunnel_identity": {}}, "mcp_tunnel_identity", "missing"),
        ({"mcp_tunnel_identity": "file"}, "mcp_tunnel_identity", "must be a map"),
        ({"mcp_tunnel_identity": {"source": "file"}}, "mcp_tunnel_identity", "file needs file"),
        ({"mcp_tunnel_identity": {"source": "fax"}}, "mcp_tunnel_identity", "fax"),
        ({"mcp_tunnel_identity": {"source": "gcp", "fiel": "x"}}, "mcp_tunnel_identity", "fiel"),
        (
            {"mcp_tunnel_identity": {"source": "gcp", "file": "/x"}},
            "mcp_tunnel_identity",
            "gcp does not use file",
        ),
        (
            {"mcp_tunnel_routes": {"echo.abcd1234.tunnel.example": "http://10.0.0.1:80"}},
            "mcp_tunnel_routes",
            "domain is not given",
        ),
    ],
)
def test_a_wrong_value_is_named_with_a_remedy(changes, subject, what):
    problems = told(**changes)
    assert len(problems) == 1, problems
    assert problems[0].partition(":")[0].partition("[")[0] == subject, problems
    assert what in problems[0]


def test_everything_is_told_at_once():
    ids = ("federation_rule_id", "organization_id", "service_account_id", "workspace_id")
    problems = told(
        **{f"mcp_tunnel_{name}": "wrong" for name in ids},
        mcp_tunnel_identity={"source": "fax", "fiel": "x", "okta_algorithm": "none"},
    )
    assert [problem.partition(":")[0] for problem in problems] == [
        *(f"mcp_tunnel_{name}" for name in ids),
        "mcp_tunnel_identity['fiel']",
        "mcp_tunnel_identity['source']",
        "mcp_tunnel_identity['okta_algorithm']",
    ]
    assert "is 'fax'. Use one of file, environment," in problems[5]


def test_in_another_mode_nothing_of_it_is_needed():
    assert check_wif(good(mcp_tunnel_federation_rule_id="rule1")) == []
