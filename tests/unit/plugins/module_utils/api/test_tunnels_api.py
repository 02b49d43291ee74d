from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.objects import parse_time
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.options import (
    API_SPEC,
    api_client,
    check_api_id,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.fakes.fake_http import (
    FakeHttp,
    json_answer,
)

DEFAULTS = {name: spec.get("default") for name, spec in API_SPEC.items()}


def client(api, **options):
    return api_client({**DEFAULTS, **api.options(**options)})


@pytest.mark.parametrize(
    ("surface", "base", "beta"),
    [
        ("tunnels", "/v1/tunnels", "mcp-tunnels-2026-06-22"),
        ("organizations", "/v1/organizations/tunnels", "mcp-tunnels-2026-05-19"),
    ],
)
def test_both_surfaces(api, surface, base, beta):
    tunnel = api.add_tunnel("production")
    tunnels_api = client(api, api_surface=surface)
    assert tunnels_api.tunnels()[0].id == tunnel["id"]
    assert tunnels_api.tunnel(tunnel["id"]).domain == tunnel["domain"]
    assert tunnels_api.reveal_token(tunnel["id"]).value == api.tokens[tunnel["id"]]
    assert tunnels_api.archive_tunnel(tunnel["id"]).archived_at
    for asked in api.asked[1:]:
        assert asked.path.startswith(base)
        assert beta in asked.headers["anthropic-beta"].split(",")
        assert asked.headers["anthropic-version"] == "2026-10-21"
        assert asked.headers["authorization"].startswith("Bearer sk-ant-oat01-")


def test_paging(api):
    api.page_size = 3
    made = [api.add_tunnel(str(number))["id"] for number in range(8)]
    archived = api.add_tunnel("old", archived=True)["id"]
    tunnels_api = client(api)
    assert [tunnel.id for tunnel in tunnels_api.tunnels()] == made[::-1]
    assert [tunnel.id for tunnel in tunnels_api.tunnels(True)] == [archived, *made[::-1]]
    assert api.calls == ["exchange", *["list"] * 6]


def test_a_list_that_never_ends_is_left(direct):
    def respond(asked):
        if asked.path == "/v1/oauth/token":
            return json_answer(200, {"access_token": "x", "expires_in": 60})
        return json_answer(200, {"data": [], "next_page": "again"})

    with FakeHttp(respond) as server:
        options = {
            **DEFAULTS,
            "api_url": server.url,
            "federation_rule_id": "fdrl_1",
            "organization_id": "0b3c7f0a-8a5e-4f55-9d8e-2f0a7e1f4b2c",
            "identity_source": "literal",
            "identity_literal": "e30.e30.eA",
        }
        assert api_client(options).tunnels() == []
        assert len(server.asked) == 3


@pytest.mark.parametrize("answer", [{"data": {}}, {"data": ["x"]}, {"x": 1}, {"data": [{}]}])
def test_answers_of_something_else(direct, answer, api):
    tunnels_api = client(api)
    api._do = lambda call, *_arguments: (
        {"access_token": "x", "expires_in": 60} if call == "exchange" else answer
    )
    api.valid.add("x")
    with pytest.raises(TunnelError, match="Check api_url"):
        tunnels_api.tunnels()


@pytest.mark.parametrize(
    ("surface", "scope"),
    [("tunnels", "workspace:manage_tunnels"), ("organizations", "org:manage_tunnels")],
)
def test_a_403_names_scope_and_membership(api, surface, scope):
    api.faults["list"] = ["permission_error"]
    with pytest.raises(TunnelError) as caught:
        client(api, api_surface=surface).tunnels()
    message = str(caught.value)
    assert "tunnels: the API answered 403 permission_error: told to fail" in message
    assert "(request-id req_2)" in message
    assert f"the scope {scope}" in message
    assert "the service account svac_account a member of the workspace wrkspc_space" in message


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("invalid_request_error", "Correct what the message names"),
        ("not_found_error", "Check the ID"),
        ("conflict_error", "tunnel_info"),
        ("rate_limit_error", "Wait a minute"),
        ("api_error", "Run again in a while"),
        ("overloaded_error", "Run again in a while"),
    ],
)
def test_every_error_says_what_to_do_and_the_request(api, fault, said):
    api.faults["get"] = [fault] * 9
    with pytest.raises(TunnelError) as caught:
        client(api).tunnel("tnl_1")
    assert said in str(caught.value)
    assert "tunnel tnl_1: the API answered" in str(caught.value)
    assert f"(request-id req_{len(api.calls)})" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"api_url": "http://api.anthropic.com"}, "api_url: is plain http"),
        ({"api_timeout": 0}, "api_timeout: is less than 1"),
        ({"api_retries": -1}, "api_retries: is less than 0"),
        ({"api_ca_bundle": "/nowhere"}, "api_ca_bundle: /nowhere does not exist"),
        ({"federation_rule_id": "x"}, "federation_rule_id: is not an ID"),
        ({"identity_source": None}, "identity_source: is missing"),
        ({"session_file": "/tmp/session"}, "session_file: /tmp/session is not below /run/"),
    ],
)
def test_wrong_options_are_refused_before_any_request(api, options, problem):
    with pytest.raises(TunnelError) as caught:
        client(api, **options)
    assert str(caught.value).startswith(problem)
    assert api.asked == []


def test_ids_that_go_into_paths(api):
    assert check_api_id(" tnl_01aB-_ ") == "tnl_01aB-_"
    for wrong in ("tnl_../x", "tnl_a?b", "tnl_", "x", "6f5b1c0e-5f0a-4c57-9d9e-2f0a7e1f4b2c"):
        with pytest.raises(TunnelError, match="tunnel_id: is"):
            check_api_id(wrong)


@pytest.mark.parametrize(
    "text",
    ["2026-11-01T12:00:00Z", "2026-11-01T13:00:00.000000001+01:00", "2026-11-01T12:00:00.0"],
)
def test_times(text):
    assert parse_time(text).timestamp() == 1793534400
    assert parse_time("yesterday") is None
