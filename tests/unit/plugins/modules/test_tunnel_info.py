from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.modules import (
    refused,
    run_module,
    without_library,
)


@pytest.fixture
def tunnels(api, openssl_ca):
    old, new = api.add_tunnel("old", archived=True), api.add_tunnel("new")
    api.add_certificate(new["id"], openssl_ca[0])
    return old, new


def shown(api, **options):
    for check in (True, False):
        outcome = run_module("tunnel_info", check=check, **api.options(**options))
        assert not outcome.failed, outcome.message
        assert not outcome.changed
        assert "sk-ant-oat01" not in outcome.everything
    return outcome.result


def test_tunnels_and_certificates(api, tunnels):
    old, new = tunnels
    [tunnel] = shown(api)["tunnels"]
    del new["type"]
    certificates = tunnel.pop("certificates")
    assert tunnel == {**new, "archived_at": "", "workspace_id": ""}
    assert certificates[0]["fingerprint"] == api.certificates[0]["fingerprint"]
    api.certificates[0]["archived_at"] = "2026-11-01T00:00:00Z"
    assert shown(api)["tunnels"][0]["certificates"] == []
    both = shown(api, include_archived=True)["tunnels"]
    assert [tunnel["id"] for tunnel in both] == [new["id"], old["id"]]
    assert both[0]["certificates"][0]["archived_at"] == "2026-11-01T00:00:00Z"
    assert [tunnel["id"] for tunnel in shown(api, tunnel_id=old["id"])["tunnels"]] == [old["id"]]


def test_a_query(api, tunnels):
    result = shown(api, query="[].certificates[].fingerprint")
    assert result["result"] == [api.certificates[0]["fingerprint"]]
    assert "result" not in shown(api)


def test_wrong_queries(api, tunnels):
    message = refused("tunnel_info", **api.options(query="[?"))
    assert message.startswith("query: cannot be used (")
    assert api.calls == []
    message = refused("tunnel_info", **api.options(query="[].abs(id)"))
    assert message.startswith("query: cannot be used (")


def test_the_library_is_needed_for_a_query_only(api, tunnels):
    result = without_library("jmespath", "tunnel_info", **api.options(query="[]"))
    assert "Python library jmespath: is not installed for the interpreter" in result["msg"]
    assert without_library("jmespath", "tunnel_info", **api.options())["tunnels"]


def test_unknown_tunnels(api):
    message = refused("tunnel_info", **api.options(tunnel_id="tnl_unknown"))
    assert "tunnel tnl_unknown: the API answered 404 not_found_error" in message
