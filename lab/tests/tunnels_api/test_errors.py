"""Refusals of the API: through the published client and, where that is too polite, without it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from lab.tests import patient
from lab.tests.platforms import Api, authority

_HEADERS = {"anthropic-version": "2026-10-21", "anthropic-beta": "mcp-tunnels-2026-06-22"}


@pytest.fixture
def client(api: Api) -> anthropic.Anthropic:
    return api.client()


def _access(client: anthropic.Anthropic) -> dict[str, str]:
    assert client._token_cache is not None
    return {"authorization": f"Bearer {client._token_cache.get_token()}", **_HEADERS}


def _error(answer: httpx2.Response) -> tuple[int, str]:
    body = answer.json()
    assert body["type"] == "error"
    assert body["request_id"] == answer.headers["request-id"]
    assert body["request_id"].startswith("req_")
    assert answer.headers["content-type"] == "application/json"
    return answer.status_code, body["error"]["type"]


def test_ten_active_tunnels(client: anthropic.Anthropic) -> None:
    made = [client.beta.tunnels.create() for _ in range(10)]
    with pytest.raises(
        anthropic.ConflictError,
        match="Organization already has the maximum of 10 non-archived Tunnels",
    ):
        client.beta.tunnels.create()
    client.beta.tunnels.archive(made[0].id)
    client.beta.tunnels.create()


def test_two_active_certificates(client: anthropic.Anthropic) -> None:
    tunnel = client.beta.tunnels.create()
    certificates = client.beta.tunnels.certificates
    pem = authority()
    certificates.create(tunnel.id, ca_certificate_pem=pem)
    with pytest.raises(anthropic.ConflictError, match="is registered"):
        certificates.create(tunnel.id, ca_certificate_pem=pem)
    certificates.create(tunnel.id, ca_certificate_pem=authority())
    with pytest.raises(anthropic.ConflictError, match="2 certificates"):
        certificates.create(tunnel.id, ca_certificate_pem=authority())


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"ca": False}, "do not say CA:TRUE"),
        ({"critical": False}, "not critical"),
        ({"key_id": False}, "subjectKeyIdentifier is missing"),
        ({"cert_sign": False}, "lacks keyCertSign"),
        ({"begins": 600}, "not valid yet"),
        ({"ends": -600}, "expired"),
        ({"key": ec.generate_private_key(ec.SECP192R1())}, "neither RSA"),
        ({"key": rsa.generate_private_key(65537, 1024)}, "neither RSA"),
        ({"padding": 500}, "longer than 8192 bytes"),
    ],
)
def test_wrong_authorities(
    client: anthropic.Anthropic, options: dict[str, Any], wrong: str
) -> None:
    tunnel = client.beta.tunnels.create()
    with pytest.raises(anthropic.BadRequestError, match=f"ca_certificate_pem: .*{wrong}"):
        client.beta.tunnels.certificates.create(tunnel.id, ca_certificate_pem=authority(**options))


def test_weak_signature(client: anthropic.Anthropic, tmp_path: Path) -> None:
    """openssl makes this one: the library that makes the others refuses to."""
    made = tmp_path / "ca.crt"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-sha1", "-newkey", "rsa:2048", "-noenc", "-days", "30"),
            *("-keyout", str(tmp_path / "ca.key"), "-out", str(made), "-subj", "/CN=weak"),
            *("-addext", "keyUsage=critical,keyCertSign"),
        ],
        check=True,
        capture_output=True,
    )
    tunnel = client.beta.tunnels.create()
    pem = made.read_text()
    with pytest.raises(anthropic.BadRequestError, match="weaker than SHA-256"):
        client.beta.tunnels.certificates.create(tunnel.id, ca_certificate_pem=pem)


@pytest.mark.parametrize(
    ("pem", "wrong"),
    [
        ("", "required"),
        ("nonsense", "not a PEM certificate"),
        (authority() + authority(), "2 certificates"),
        (authority() + "-----BEGIN PRIVATE KEY-----\n", "private key"),
    ],
)
def test_wrong_pem(client: anthropic.Anthropic, pem: str, wrong: str) -> None:
    tunnel = client.beta.tunnels.create()
    with pytest.raises(anthropic.BadRequestError, match=f"ca_certificate_pem: .*{wrong}"):
        client.beta.tunnels.certificates.create(tunnel.id, ca_certificate_pem=pem)


@pytest.mark.parametrize("key", [rsa.generate_private_key(65537, 2048), None])
def test_right_authorities(client: anthropic.Anthropic, key: Any) -> None:
    tunnel = client.beta.tunnels.create()
    pem = authority(key, digest=hashes.SHA384())
    assert client.beta.tunnels.certificates.create(tunnel.id, ca_certificate_pem=pem).id


@pytest.mark.parametrize("name", ["", "x" * 256])
def test_display_name(client: anthropic.Anthropic, name: str) -> None:
    with pytest.raises(anthropic.BadRequestError, match="display_name"):
        client.beta.tunnels.create(display_name=name)
    assert client.beta.tunnels.create(display_name="x" * 255).display_name == "x" * 255


@pytest.mark.parametrize("options", [{"limit": 0}, {"limit": 1001}, {"page": "page_none"}])
def test_list_parameters(client: anthropic.Anthropic, options: dict[str, Any]) -> None:
    with pytest.raises(anthropic.BadRequestError, match=next(iter(options))):
        client.beta.tunnels.list(**options)
    assert client.beta.tunnels.list(limit=1000).data == []


def test_unknown_ids(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match="tunnel tnl_none not found"):
        client.beta.tunnels.retrieve("tnl_none")
    tunnel = client.beta.tunnels.create()
    with pytest.raises(anthropic.NotFoundError, match="certificate tcrt_none not found"):
        client.beta.tunnels.certificates.retrieve("tcrt_none", tunnel_id=tunnel.id)


def test_archived_tunnel(client: anthropic.Anthropic) -> None:
    tunnels = client.beta.tunnels
    tunnel = tunnels.create()
    tunnels.archive(tunnel.id)
    for call in (
        lambda: tunnels.reveal_token(tunnel.id),
        lambda: tunnels.rotate_token(tunnel.id),
        lambda: tunnels.certificates.create(tunnel.id, ca_certificate_pem=authority()),
    ):
        with pytest.raises(anthropic.ConflictError, match="is archived"):
            call()


def test_headers(api: Api, client: anthropic.Anthropic) -> None:
    right = _access(client)
    place = f"{api.url}/v1/tunnels"
    for query in ("", "?beta=true"):
        answer = patient.get(place + query, headers=right)
        assert answer.json() == {"data": [], "next_page": None}
    assert _error(patient.get(place, headers={**right, "anthropic-version": "1"}))[0] == 400
    assert patient.get(place, headers={**right, "anthropic-version": "2023-06-01"}).is_success
    unversioned = {k: v for k, v in right.items() if k != "anthropic-version"}
    assert patient.get(place, headers=unversioned).status_code == 200
    answer = patient.get(place, headers={**right, "anthropic-beta": ""})
    assert _error(answer) == (400, "invalid_request_error")
    assert "anthropic-beta" in answer.json()["error"]["message"]
    for change in ({"authorization": "Bearer wrong"}, {"authorization": "Basic eA=="}):
        answer = patient.get(place, headers={**right, **change})
        assert _error(answer) == (401, "authentication_error")
    older = {**right, "anthropic-beta": "mcp-tunnels-2026-05-19"}
    assert _error(patient.get(place, headers=older))[0] == 400
    elsewhere = {**right, "anthropic-workspace-id": "wrkspc_other"}
    assert _error(patient.get(place, headers=elsewhere)) == (403, "permission_error")
    here = {**right, "anthropic-workspace-id": api.state["workspaces"][0]["id"]}
    assert patient.get(place, headers=here).status_code == 200


def test_bodies(api: Api, client: anthropic.Anthropic) -> None:
    right = _access(client)
    place = f"{api.url}/v1/tunnels"
    large = patient.post(place, headers=right, json={"display_name": "x" * 70_000})
    assert _error(large) == (413, "request_too_large")
    unknown = patient.post(place, headers=right, json={"name": "x"})
    assert _error(unknown) == (400, "invalid_request_error")
    json = {**right, "content-type": "application/json"}
    for content in (b"{", b"[]", b"\xff"):
        answer = patient.post(place, headers=json, content=content)
        assert _error(answer) == (400, "invalid_request_error")
    form = patient.post(place, headers=right, data={"display_name": "x"})
    assert "content-type" in form.json()["error"]["message"]
    assert _error(patient.get(f"{api.url}/v1/nowhere", headers=right)) == (404, "not_found_error")
    assert api.ask("status")["tunnels"] == []


def test_expired_access_token(api: Api) -> None:
    client = api.client(api.add_rule(token_lifetime=0))
    with pytest.raises(anthropic.AuthenticationError):
        client.beta.tunnels.list()


def test_scopes(api: Api) -> None:
    older = api.client(api.add_rule(scope="org:manage_tunnels"))
    with pytest.raises(anthropic.PermissionDeniedError, match="workspace:manage_tunnels"):
        older.beta.tunnels.list()
    newer = api.client(api.add_rule(scope="workspace:manage_tunnels"))
    options: Any = {"headers": {"anthropic-beta": "mcp-tunnels-2026-05-19"}}
    with pytest.raises(anthropic.PermissionDeniedError, match="org:manage_tunnels"):
        newer.get("/v1/organizations/tunnels", cast_to=object, options=options)


def test_workspaces(api: Api, client: anthropic.Anthropic) -> None:
    other = api.ask("add-workspace", "other")["id"]
    stranger = api.client(api.add_rule(workspaces=[other]))
    with pytest.raises(anthropic.PermissionDeniedError, match="not a member"):
        stranger.beta.tunnels.list()
    account = api.ask("add-service-account", [other])["id"]
    member = api.client(api.add_rule(workspaces=[other], service_account_id=account))
    here, there = client.beta.tunnels.create(), member.beta.tunnels.create()
    assert list(client.beta.tunnels.list()) == [here]
    assert list(member.beta.tunnels.list()) == [there]
    with pytest.raises(anthropic.NotFoundError):
        member.beta.tunnels.retrieve(here.id)
