"""The requests of our client, beside those of the vendor's own client for the same calls."""

from __future__ import annotations

import anthropic
import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.options import (
    API_SPEC,
    api_client,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import openssl
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.fakes.fake_api import FakeApi

DEFAULTS = {name: spec.get("default") for name, spec in API_SPEC.items()}
# Headers that say who asks and for what; the rest belongs to the HTTP library.
HEADERS = ("authorization", "anthropic-version", "anthropic-beta", "anthropic-workspace-id")


@pytest.fixture
def api(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with FakeApi() as fake:
        yield fake


@pytest.fixture
def ours(api):
    return api_client({**DEFAULTS, **api.options()})


@pytest.fixture
def theirs(api):
    options = api.options()
    identity = anthropic.WorkloadIdentityCredentials(
        identity_token_provider=lambda: api.jwt,
        federation_rule_id=options["federation_rule_id"],
        organization_id=options["organization_id"],
        service_account_id=options["service_account_id"],
        workspace_id=options["workspace_id"],
    )
    return anthropic.Anthropic(base_url=api.url, credentials=identity, max_retries=0).beta.tunnels


@pytest.fixture
def pem(tmp_path):
    return openssl.make_ca(tmp_path)[0]


def said(asked, base="/v1/tunnels"):
    """Return the parts of a request to compare; the access token is another one each time."""
    headers = {name: asked.headers.get(name) for name in HEADERS}
    if headers["authorization"]:
        scheme, _space, token = headers["authorization"].partition(" ")
        headers["authorization"] = (scheme, token.startswith("sk-ant-oat01-"))
    headers["anthropic-beta"] = set(headers["anthropic-beta"].split(","))
    # Their client marks every call with beta=true, and we ask for larger pages.
    query = {name: value for name, value in asked.query.items() if name not in ("beta", "limit")}
    content_type = asked.headers.get("content-type") if asked.body else None
    return asked.method, asked.path, query, headers, content_type, asked.json


CALLS = {
    "create": (lambda api: api.create_tunnel("x"), lambda api: api.create(display_name="x")),
    "get": (lambda api: api.tunnel("tnl_1"), lambda api: api.retrieve("tnl_1")),
    "list": (lambda api: api.tunnels(), lambda api: list(api.list())),
    "list with archived": (
        lambda api: api.tunnels(include_archived=True),
        lambda api: list(api.list(include_archived=True)),
    ),
    "reveal": (lambda api: api.reveal_token("tnl_1"), lambda api: api.reveal_token("tnl_1")),
    "rotate": (
        lambda api: api.rotate_token("tnl_1", "why"),
        lambda api: api.rotate_token("tnl_1", reason="why"),
    ),
    "certificates": (
        lambda api: api.certificates("tnl_1"),
        lambda api: list(api.certificates.list("tnl_1")),
    ),
    "archive certificate": (
        lambda api: api.archive_certificate("tnl_1", "tcrt_1"),
        lambda api: api.certificates.archive("tcrt_1", tunnel_id="tnl_1"),
    ),
    "archive": (lambda api: api.archive_tunnel("tnl_1"), lambda api: api.archive("tnl_1")),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_call_is_theirs(api, ours, theirs, pem, call):
    tunnel = api.add_tunnel("production")
    certificate = api.add_certificate(tunnel["id"], pem)
    api.tokens["tnl_1"] = api.tokens[tunnel["id"]]
    tunnel["id"] = certificate["tunnel_id"] = "tnl_1"
    certificate["id"] = "tcrt_1"
    recorded = []
    for client, act in zip((ours, theirs), CALLS[call]):
        api.asked.clear()
        act(client)
        recorded.append([said(asked) for asked in api.asked])
    our_exchange, our_call = recorded[0]
    their_exchange, their_call = recorded[1]
    assert our_call == their_call
    assert our_exchange == their_exchange


def test_registering_is_theirs(api, ours, theirs, pem):
    tunnel = api.add_tunnel("production")
    recorded = []
    for act in (
        lambda: ours.add_certificate(tunnel["id"], pem),
        lambda: theirs.certificates.create(tunnel["id"], ca_certificate_pem=pem),
    ):
        api.asked.clear()
        api.certificates.clear()
        act()
        recorded.append([said(asked) for asked in api.asked])
    assert recorded[0] == recorded[1]


def test_what_we_made_is_what_they_read(api, ours, theirs, pem):
    made = ours.create_tunnel("production")
    registered = ours.add_certificate(made.id, pem)
    token = ours.rotate_token(made.id, "why")
    tunnel = theirs.retrieve(made.id)
    assert (tunnel.id, tunnel.domain, tunnel.display_name) == (
        made.id,
        made.domain,
        "production",
    )
    [certificate] = theirs.certificates.list(made.id)
    assert (certificate.id, certificate.fingerprint) == (registered.id, registered.fingerprint)
    assert theirs.reveal_token(made.id).tunnel_token == token.value
