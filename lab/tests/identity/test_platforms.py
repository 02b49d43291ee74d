"""Each platform answers as in the world, and the Tunnels API accepts its token."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from lab.core.errors import LabError
from lab.identity import azure, github, okta
from lab.tests import patient
from lab.tests.platforms import AUDIENCE, Api, Identity

_FLAVOR = {"Metadata-Flavor": "Google"}
_GCP = "/computeMetadata/v1/instance/service-accounts/default/identity"
_AZURE = "/metadata/identity/oauth2/token"


def claims(token: str) -> dict[str, Any]:
    return jwt.decode(token, options={"verify_signature": False})


def accepted(api: Api, platform: str, token: str, **options: Any) -> bool:
    """Whether the API gives an access token under a rule for the platform."""
    return bool(api.credentials(api.add_rule(platform, **options), token)().token)


def test_discovery(identity: Identity) -> None:
    """PyJWT's own client discovers the keys of every issuer."""
    for platform, facts in identity.ask("status").items():
        place = facts["issuer"].rstrip("/") + "/.well-known/openid-configuration"
        found = patient.get(place).json()
        assert found["issuer"] == facts["issuer"]
        token = identity.token(platform)
        key = jwt.PyJWKClient(found["jwks_uri"]).get_signing_key_from_jwt(token)
        decoded = jwt.decode(token, key, audience=AUDIENCE, issuer=facts["issuer"])
        assert decoded["sub"] == facts["subject"]


def test_keys_survive_a_restart(identity: Identity) -> None:
    before = identity.ask("status")
    identity.kill()
    identity.start()
    assert identity.ask("status") == before


def test_gcp(identity: Identity, api: Api) -> None:
    query = {"audience": AUDIENCE, "format": "full"}
    answer = patient.get(identity.url + _GCP, params=query, headers=_FLAVOR)
    assert answer.headers["metadata-flavor"] == "Google"
    found = claims(answer.text)
    assert (found["aud"], found["azp"], found["email_verified"]) == (AUDIENCE, found["sub"], True)
    assert found["google"]["compute_engine"]["instance_name"]
    assert found["exp"] - found["iat"] == 3600
    assert accepted(api, "gcp", answer.text)
    short = patient.get(identity.url + _GCP, params={"audience": "x"}, headers=_FLAVOR)
    assert "email" not in claims(short.text)


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        ({"audience": "x"}, {}, 403),
        ({"audience": "x"}, {**_FLAVOR, "X-Forwarded-For": "192.0.2.1"}, 403),
        ({}, _FLAVOR, 400),
        ({"audience": "x", "format": "odd"}, _FLAVOR, 400),
    ],
)
def test_gcp_refuses(
    identity: Identity, query: dict[str, str], headers: dict[str, str], status: int
) -> None:
    answer = patient.get(identity.url + _GCP, params=query, headers=headers)
    assert answer.status_code == status


def test_azure(identity: Identity, api: Api) -> None:
    query = {"api-version": "2018-02-01", "resource": "api://tunnels"}
    answer = patient.get(identity.url + _AZURE, params=query, headers={"Metadata": "true"}).json()
    found = claims(answer["access_token"])
    assert (found["aud"], found["sub"], answer["token_type"]) == (
        *("api://tunnels", azure.SUBJECT),
        "Bearer",
    )
    assert int(answer["expires_on"]) == found["exp"]
    token = answer["access_token"]
    options = {"audience": "api://tunnels", "max_lifetime": azure.MAX_LIFETIME}
    assert accepted(api, "azure", token, **options)
    query["client_id"] = azure.USER_CLIENT_ID
    other = patient.get(identity.url + _AZURE, params=query, headers={"Metadata": "true"}).json()
    assert claims(other["access_token"])["sub"] == azure.USER_SUBJECT


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ({"api-version": "2018-02-01", "resource": "x"}, {}),
        ({"resource": "x"}, {"Metadata": "true"}),
        ({"api-version": "2018-02-01"}, {"Metadata": "true"}),
        (
            {"api-version": "2018-02-01", "resource": "x", "client_id": "other"},
            {"Metadata": "true"},
        ),
    ],
)
def test_azure_refuses(identity: Identity, query: dict[str, str], headers: dict[str, str]) -> None:
    answer = patient.get(identity.url + _AZURE, params=query, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


def test_github(identity: Identity, api: Api) -> None:
    bearer = {"Authorization": f"bearer {identity.directory.github_token()}"}
    place = f"{identity.url}{github.REQUEST}&audience={AUDIENCE}"
    answer = patient.get(place, headers=bearer).json()
    found = claims(answer["value"])
    assert (found["sub"], found["repository"]) == (github.SUBJECT, "acme/tunnels")
    options = {"subject": "repo:acme/tunnels:*", "claims": {"ref": "refs/heads/main"}}
    assert accepted(api, "github", answer["value"], **options)
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        assert patient.get(place, headers=headers).status_code == 401


def test_okta(identity: Identity, api: Api) -> None:
    place = identity.ask("status")["okta"]["issuer"] + "/v1/token"
    form = _okta_form(identity, place)
    answer = patient.post(place, data=form)
    assert answer.status_code == 200
    token = answer.json()["access_token"]
    assert claims(token)["cid"] == okta.CLIENT_ID
    assert accepted(api, "okta", token)
    again = patient.post(place, data=form)
    assert (again.status_code, again.json()["error"]) == (401, "invalid_client")
    assert "jti" in again.json()["error_description"]


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"client_assertion_type": "x"}, 401, "invalid_client"),
        ({"client_assertion": "x"}, 401, "invalid_client"),
        ({"scope": "other"}, 400, "invalid_scope"),
    ],
)
def test_okta_refuses(identity: Identity, change: dict[str, str], status: int, code: str) -> None:
    place = identity.ask("status")["okta"]["issuer"] + "/v1/token"
    answer = patient.post(place, data={**_okta_form(identity, place), **change})
    assert (answer.status_code, answer.json()["error"]) == (status, code)


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "other"},
        {"sub": "other"},
        {"aud": "https://elsewhere.example"},
        {"exp": 1},
        {"exp": int(time.time()) + 90_000},
    ],
)
def test_okta_checks_the_assertion(identity: Identity, change: dict[str, Any]) -> None:
    place = identity.ask("status")["okta"]["issuer"] + "/v1/token"
    answer = patient.post(place, data=_okta_form(identity, place, **change))
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


def _okta_form(identity: Identity, place: str, **change: Any) -> dict[str, str]:
    moment = int(time.time())
    every = {
        **{"iss": okta.CLIENT_ID, "sub": okta.CLIENT_ID, "aud": place},
        **{"iat": moment, "exp": moment + 300, "jti": str(time.monotonic_ns()), **change},
    }
    key = identity.directory.okta_client.read_text()
    return {
        "grant_type": "client_credentials",
        "scope": okta.SCOPE,
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": jwt.encode(every, key, "RS256"),
    }


def test_kubernetes(identity: Identity, api: Api, tmp_path: Path) -> None:
    volume = tmp_path / "tokens"
    path = Path(identity.ask("project", str(volume), AUDIENCE)["token_file"])
    first = path.read_text()
    assert path == volume / "token"
    assert path.is_symlink()
    assert accepted(api, "kubernetes", first)
    identity.ask("project", str(volume), AUDIENCE)
    assert path.read_text() != first
    assert len(list(volume.iterdir())) == 3


def test_unknown_platform(identity: Identity) -> None:
    with pytest.raises(LabError, match="platform 'ibm'"):
        identity.ask("rotate-key", "ibm")
    with pytest.raises(LabError, match="algorithm 'XX1'"):
        identity.token(algorithm="XX1")
