"""The published client, unmodified, against the lab's API: every call and its request."""

from __future__ import annotations

import base64
import json
import re
from datetime import datetime, timezone
from typing import Any

import anthropic
import pytest
from anthropic.types.beta import BetaTunnel
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from lab.tests.platforms import Api, authority


@pytest.fixture
def client(api: Api) -> anthropic.Anthropic:
    return api.client()


def test_life_of_a_tunnel(client: anthropic.Anthropic) -> None:
    tunnels = client.beta.tunnels
    began = datetime.now(timezone.utc)
    made = tunnels.create(display_name="production")
    ended = datetime.now(timezone.utc)
    assert re.fullmatch(r"tnl_\w+", made.id)
    assert re.fullmatch(r"[a-z0-9]{8}\.tunnel\.anthropic\.com", made.domain)
    assert (made.type, made.display_name, made.archived_at) == ("tunnel", "production", None)
    assert began.replace(microsecond=0) <= made.created_at <= ended
    assert tunnels.retrieve(made.id) == made
    assert list(tunnels.list()) == [made]
    archived = tunnels.archive(made.id)
    assert archived.archived_at is not None
    assert tunnels.archive(made.id) == archived
    assert list(tunnels.list()) == []
    assert list(tunnels.list(include_archived=True)) == [archived]


def test_token(client: anthropic.Anthropic) -> None:
    tunnels = client.beta.tunnels
    made = tunnels.create()
    assert made.display_name is None
    first = tunnels.reveal_token(made.id)
    fields = json.loads(base64.b64decode(first.tunnel_token))
    assert set(fields) == {"a", "t", "s"}
    assert len(base64.b64decode(fields["s"])) == 32
    assert first.id.startswith("ttkn_")
    assert tunnels.reveal_token(made.id) == first
    second = tunnels.rotate_token(made.id, reason="quarterly")
    again = json.loads(base64.b64decode(second.tunnel_token))
    assert {**again, "s": None} == {**fields, "s": None}
    assert again["s"] != fields["s"]
    assert second.id != first.id
    assert tunnels.reveal_token(made.id) == second


def test_certificates(api: Api, client: anthropic.Anthropic) -> None:
    tunnel = client.beta.tunnels.create()
    certificates = client.beta.tunnels.certificates
    pem = authority()
    parsed = x509.load_pem_x509_certificate(pem.encode())
    first = certificates.create(tunnel.id, ca_certificate_pem=pem)
    assert first.fingerprint == parsed.fingerprint(hashes.SHA256()).hex()
    assert first.expires_at == parsed.not_valid_after_utc
    assert (first.type, first.tunnel_id, first.archived_at) == (
        *("tunnel_certificate", tunnel.id),
        None,
    )
    second = certificates.create(tunnel.id, ca_certificate_pem=authority())
    assert list(certificates.list(tunnel.id)) == [second, first]
    assert certificates.retrieve(first.id, tunnel_id=tunnel.id) == first
    gone = certificates.archive(first.id, tunnel_id=tunnel.id)
    assert gone.archived_at is not None
    assert certificates.archive(first.id, tunnel_id=tunnel.id) == gone
    assert list(certificates.list(tunnel.id)) == [second]
    certificates.archive(second.id, tunnel_id=tunnel.id)
    assert list(certificates.list(tunnel.id)) == []
    assert len(list(certificates.list(tunnel.id, include_archived=True))) == 2
    # An archived one may be registered again.
    certificates.create(tunnel.id, ca_certificate_pem=pem)
    client.beta.tunnels.archive(tunnel.id)
    archived = list(certificates.list(tunnel.id, include_archived=True))
    assert all(each.archived_at for each in archived)
    assert archived[-1].archived_at == gone.archived_at


def test_pages_newest_first(client: anthropic.Anthropic) -> None:
    tunnels = client.beta.tunnels
    made = [tunnels.create(display_name=str(number)) for number in range(7)]
    page = tunnels.list(limit=3)
    assert [each.display_name for each in page.data] == ["6", "5", "4"]
    assert page.next_page
    # A tunnel that is made meanwhile does not shift the pages.
    tunnels.create()
    assert [each.display_name for each in page.get_next_page().data] == ["3", "2", "1"]
    assert list(page) == list(reversed(made))
    assert list(tunnels.list(limit=8))[1:] == list(reversed(made))
    assert tunnels.list(limit=8).next_page is None


def test_what_the_client_sends(api: Api, client: anthropic.Anthropic) -> None:
    client.beta.tunnels.create(display_name="seen")
    exchange, create = api.audit()
    assert (exchange["call"], exchange["method"], exchange["path"]) == (
        *("exchange", "POST"),
        "/v1/oauth/token",
    )
    assert exchange["body"]["assertion"] == "***"
    assert exchange["body"]["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    assert (create["call"], create["path"], create["query"]) == ("create", "/v1/tunnels", {})
    assert create["headers"]["anthropic-version"] == "2026-10-21"
    assert "mcp-tunnels-2026-06-22" in create["headers"]["anthropic-beta"]
    assert create["headers"]["authorization"] == "***"
    assert create["body"] == {"display_name": "seen"}
    assert (create["status"], create["fault"]) == (200, None)


def test_no_secret_is_written_down(api: Api, client: anthropic.Anthropic) -> None:
    tunnel = client.beta.tunnels.create()
    token = client.beta.tunnels.reveal_token(tunnel.id).tunnel_token
    secret = json.loads(base64.b64decode(token))["s"]
    assert client._token_cache is not None
    access = client._token_cache.get_token()
    told = api.directory.audit.path.read_text() + json.dumps(api.ask("status"))
    for each in (token, secret, access):
        assert each not in told
    assert access not in api.directory.store.path.read_text()


def test_older_surface(api: Api, client: anthropic.Anthropic) -> None:
    made = client.beta.tunnels.create()
    older = {"anthropic-beta": "mcp-tunnels-2026-05-19,oauth-2025-04-20"}
    place = "/v1/organizations/tunnels"
    options: Any = {"headers": older}
    got = client.get(f"{place}/{made.id}", cast_to=BetaTunnel, options=options)
    workspace = api.state["workspaces"][0]["id"]
    assert got.to_dict() == {**made.to_dict(), "workspace_id": workspace}
    token = client.post(f"{place}/{made.id}/reveal_token", cast_to=object, options=options)
    assert token == client.beta.tunnels.reveal_token(made.id).to_dict()
    with pytest.raises(anthropic.APIStatusError, match="no such call") as refused:
        client.post(place, cast_to=object, body={}, options=options)
    assert refused.value.status_code == 405
