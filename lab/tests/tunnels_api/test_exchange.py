"""The token exchange accepts the right tokens, and all its refusals look alike."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx2
import pytest
from anthropic.lib.credentials import WorkloadIdentityError

from lab.tests import patient
from lab.tests.platforms import AUDIENCE, Api, in_seconds

_BETAS = "oauth-2025-04-20,oidc-federation-2026-04-01"


def test_answer(api: Api) -> None:
    rule = api.add_rule(token_lifetime=900)
    answer = _post(api, _body(api, rule))
    assert answer.status_code == 200
    body = answer.json()
    assert body.pop("access_token").startswith("sk-ant-oat01-")
    assert body == {"token_type": "Bearer", "expires_in": 900, "scope": rule["scope"]}


@pytest.mark.parametrize(
    ("claims", "options", "reason"),
    [
        ({"iss": "https://elsewhere.example"}, {}, "InvalidIssuer"),
        ({"aud": "api.anthropic.com"}, {}, "InvalidAudience"),
        ({"aud": None}, {}, "aud"),
        ({"sub": "system:serviceaccount:mcp:other"}, {}, "does not match"),
        ({"sub": None}, {}, "sub"),
        ({"exp": None}, {}, "exp"),
        ({"iat": None}, {}, "iat"),
        ({"exp": in_seconds(-40)}, {}, "ExpiredSignature"),
        ({"nbf": in_seconds(7200)}, {}, "ImmatureSignature"),
        ({"iat": in_seconds(7200)}, {}, "ImmatureSignature"),
        ({}, {"lifetime": 3601}, "lifetime of 3601 s"),
        ({}, {"algorithm": "HS256"}, "neither RSA nor ECDSA"),
        ({}, {"algorithm": "none"}, "neither RSA nor ECDSA"),
        ({}, {"algorithm": "EdDSA"}, "neither RSA nor ECDSA"),
        ({}, {"with_kid": False}, "no kid"),
        ({}, {"key": "unpublished"}, "InvalidSignature"),
    ],
)
def test_denials(api: Api, claims: dict[str, Any], options: dict[str, Any], reason: str) -> None:
    _denied(api, api.add_rule(), reason, api.identity.token(claims=claims, **options))


def test_tampered_token(api: Api) -> None:
    header, _, signature = api.identity.token().split(".")
    claims = {"iss": "x", "sub": "y", "aud": AUDIENCE, "iat": 1, "exp": in_seconds(60)}
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    _denied(api, api.add_rule(), "InvalidSignature", f"{header}.{payload}.{signature}")
    _denied(api, api.add_rule(), "DecodeError", "not a token")


@pytest.mark.parametrize("claims", [{"exp": in_seconds(900)}, {"nbf": in_seconds(900)}])
def test_leeway(api: Api, claims: dict[str, Any]) -> None:
    """30 seconds, both ways; computed afresh, since the tests before this one take time."""
    name = next(iter(claims))
    within = {name: in_seconds(-20 if name == "exp" else 20)}
    token = api.identity.token(claims={**within, "iat": in_seconds(-60)})
    assert api.credentials(api.add_rule(), token)().token


def test_lifetime_at_the_limit(api: Api) -> None:
    token = api.identity.token(lifetime=3600)
    assert api.credentials(api.add_rule(), token)().token
    longer = api.identity.token(lifetime=7200)
    assert api.credentials(api.add_rule(max_lifetime=7200), longer)().token


@pytest.mark.parametrize("algorithm", ["RS512", "PS256", "ES256", "ES384"])
def test_algorithms(api: Api, algorithm: str) -> None:
    token = api.identity.token(algorithm=algorithm)
    assert api.credentials(api.add_rule(), token)().token


def test_a_jti_is_accepted_once(api: Api) -> None:
    """The rule does not matter; a denial does not use the jti up, and other tokens still pass."""
    rule = api.add_rule()
    token = api.identity.token(claims={"jti": "one"})
    _denied(api, api.add_rule(claims={"cluster": "prod"}), "claim cluster", token)
    assert api.credentials(rule, token)().token
    _denied(api, rule, "jti 'one' was exchanged before", token)
    _denied(api, api.add_rule(), "jti 'one' was exchanged before", token)
    assert api.credentials(rule, api.identity.token(claims={"jti": "two"}))().token
    without = api.identity.token()
    for _ in range(2):
        assert api.credentials(rule, without)().token


@pytest.mark.parametrize(("left", "granted"), [(300, 600), (-20, 1), (3000, 900)])
def test_an_access_token_lives_at_most_twice_as_long_as_its_jwt(
    api: Api, left: int, granted: int
) -> None:
    began = in_seconds(0)
    token = api.identity.token(claims={"iat": began - 60, "exp": began + left})
    answer = _post(api, {**_body(api, api.add_rule(token_lifetime=900)), "assertion": token})
    took = in_seconds(1) - began  # each second of it costs two of the access token
    assert granted - 2 * took <= answer.json()["expires_in"] <= granted
    [stored] = api.directory.store.read()["access_tokens"]
    assert began + granted - 2 * took <= stored["expires"] <= in_seconds(granted + 1)


def test_key_rotation(api: Api) -> None:
    rule = api.add_rule()
    before = api.identity.token()
    api.identity.ask("rotate-key", "kubernetes", keep_old=True)
    assert api.credentials(rule, before)().token
    assert api.credentials(rule)().token
    api.identity.ask("rotate-key", "kubernetes")
    _denied(api, rule, "has no key", before)
    assert api.credentials(rule)().token


def test_subject_prefix_and_claims(api: Api) -> None:
    prefix = api.add_rule(subject="system:serviceaccount:mcp:*")
    assert api.credentials(prefix)().token
    _denied(api, api.add_rule(subject="system:serviceaccount:other:*"), "does not match")
    _denied(api, api.add_rule(subject="system:*:tunnel"), "does not match")
    claims = api.add_rule(claims={"cluster": "prod"})
    _denied(api, claims, "claim cluster is None")
    _denied(api, claims, "claim cluster", api.identity.token(claims={"cluster": "test"}))
    assert api.credentials(claims, api.identity.token(claims={"cluster": "prod"}))().token
    several = api.identity.token(claims={"aud": ["other", AUDIENCE]})
    assert api.credentials(api.add_rule(), several)().token


def test_identifiers(api: Api) -> None:
    rule = api.add_rule()
    _denied(api, {"id": "fdrl_other"}, "no federation rule")
    other = "1b4e28ba-2fa1-11d2-883f-0016d3cca427"
    _denied(api, rule, "no organization", organization_id=other)
    _denied(api, rule, "not for service account", service_account_id="svac_other")
    account = rule["service_account_id"]
    assert api.credentials(rule, service_account_id=account)().token


def test_unreachable_issuer(api: Api) -> None:
    _denied(api, api.add_rule(issuer="http://127.0.0.1:9"), "cannot be had")


def test_workspaces(api: Api) -> None:
    default = api.state["workspaces"][0]["id"]
    one, two = (api.ask("add-workspace", name)["id"] for name in ("one", "two"))
    several = api.add_rule(workspaces=[one, two])
    _denied(api, several, "several workspaces")
    _denied(api, several, "does not cover", workspace_id="default")
    _denied(api, several, "does not cover", workspace_id=default)
    assert _workspace(api, several, workspace_id=two) == two
    assert _workspace(api, api.add_rule(workspaces=[one])) == one
    assert _workspace(api, api.add_rule(workspaces=[one, default])) == default
    assert _workspace(api, api.add_rule(workspaces=[default]), workspace_id="default") == default


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("grant_type", "client_credentials"),
        ("assertion", "x" * (16 * 1024 + 1)),
        ("assertion", ""),
        ("assertion", 1),
        ("federation_rule_id", "rule"),
        ("organization_id", "acme"),
        ("service_account_id", "me"),
        ("workspace_id", "mine"),
        ("surprise", "x"),
    ],
)
def test_wrong_fields(api: Api, field: str, value: object) -> None:
    body = {**_body(api, api.add_rule()), field: value}
    answer = _post(api, body)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
    assert answer.json()["error"]["message"].startswith(f"{field}: ")


@pytest.mark.parametrize(
    "field", ["grant_type", "assertion", "federation_rule_id", "organization_id"]
)
def test_missing_fields(api: Api, field: str) -> None:
    body = _body(api, api.add_rule())
    del body[field]
    answer = _post(api, body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(f"{field}: ")


@pytest.mark.parametrize("betas", ["", *_BETAS.split(",")])
def test_betas(api: Api, betas: str) -> None:
    answer = _post(api, _body(api, api.add_rule()), betas)
    assert answer.status_code == 400
    assert "anthropic-beta" in answer.json()["error"]["message"]


def _denied(
    api: Api, rule: dict[str, Any], reason: str, token: str | None = None, **options: Any
) -> None:
    with pytest.raises(WorkloadIdentityError) as refused:
        api.credentials(rule, token, **options)()
    assert refused.value.status_code == 401
    last = api.audit()[-1]
    assert reason in last["reason"]
    assert refused.value.request_id == last["request_id"]
    # The words are the same for every reason.
    body = {**_body(api, rule), "assertion": token or api.identity.token(), **options}
    answer = _post(api, body).json()
    error = {"type": "authentication_error", "message": "Authentication failed"}
    assert answer == {"type": "error", "error": error, "request_id": answer["request_id"]}


def _workspace(api: Api, rule: dict[str, Any], **options: Any) -> str:
    """The workspace that the token is bound to."""
    assert api.credentials(rule, **options)().token
    return api.directory.store.read()["access_tokens"][-1]["workspace_id"]


def _body(api: Api, rule: dict[str, Any]) -> dict[str, Any]:
    return {
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "assertion": api.identity.token(),
        "federation_rule_id": rule["id"],
        "organization_id": api.state["organization_id"],
    }


def _post(api: Api, body: dict[str, Any], betas: str = _BETAS) -> httpx2.Response:
    return patient.post(f"{api.url}/v1/oauth/token", json=body, headers={"anthropic-beta": betas})
