"""The token exchange (RFC 7523): an identity token for an access token."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from ..errors import ApiError, Denied
from ..state import Rule, State, Store, UsedJwt
from .access import check_betas, give_token
from .jwks import IssuerKeys

_BETAS = ("oauth-2025-04-20", "oidc-federation-2026-04-01")
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_MAX_ASSERTION = 16 * 1024
_LEEWAY = 30
_ALGORITHMS = [f"{family}{bits}" for family in ("RS", "PS", "ES") for bits in (256, 384, 512)]
_CLAIMS = ["iss", "sub", "aud", "exp", "iat"]


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False


def _matches(pattern: str) -> Callable[[str], bool]:
    return lambda text: re.fullmatch(pattern, text) is not None


#: Field -> (what it must be, its check, whether it must be there).
_FIELDS: dict[str, tuple[str, Callable[[str], bool], bool]] = {
    "grant_type": (_GRANT, lambda text: text == _GRANT, True),
    "assertion": (
        f"a JWT of at most {_MAX_ASSERTION} bytes",
        lambda text: 0 < len(text.encode()) <= _MAX_ASSERTION,
        True,
    ),
    "federation_rule_id": ("an id fdrl_…", _matches(r"fdrl_\w+"), True),
    "organization_id": ("a UUID", _is_uuid, True),
    "service_account_id": ("an id svac_…", _matches(r"svac_\w+"), False),
    "workspace_id": ("an id wrkspc_… or default", _matches(r"wrkspc_\w+|default"), False),
}


@dataclass(frozen=True)
class Exchange:
    """The endpoint."""

    store: Store
    keys: IssuerKeys

    async def answer(self, headers: Mapping[str, str], body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the access token's JSON. Raises ApiError, Denied."""
        check_betas(headers, *_BETAS)
        _check_fields(body)
        rule = _rule(self.store.read(), body)
        claims = await self._check_assertion(rule, body["assertion"])
        lifetime = _lifetime(rule, claims)
        with self.store.change() as state:
            workspace = _workspace(state, rule, body.get("workspace_id"))
            _use_up(state, claims)
            token = give_token(state, rule, workspace, lifetime)
        return {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": lifetime,
            "scope": rule["scope"],
        }

    async def _check_assertion(self, rule: Rule, assertion: str) -> Mapping[str, Any]:
        try:
            header = jwt.get_unverified_header(assertion)
            if header.get("alg") not in _ALGORITHMS:
                raise Denied(f"algorithm {header.get('alg')} is neither RSA nor ECDSA")
            if "kid" not in header:
                raise Denied("the header has no kid")
            # The rule's issuer, not the token's: a caller cannot choose where keys are fetched.
            key = await self.keys.find(rule["issuer"], header["kid"])
            claims: Mapping[str, Any] = jwt.decode(
                assertion,
                key,
                algorithms=[str(header["alg"])],
                issuer=rule["issuer"],
                audience=rule["audience"],
                leeway=_LEEWAY,
                options={"require": _CLAIMS},
            )
        except jwt.PyJWTError as error:
            raise Denied(f"{type(error).__name__}: {error}") from None
        _check_claims(rule, claims)
        return claims


def _check_fields(body: Mapping[str, Any]) -> None:
    for name in body:
        if name not in _FIELDS:
            raise ApiError(400, f"{name}: unknown field")
    for name, (form, holds, needed) in _FIELDS.items():
        if name not in body and not needed:
            continue
        value = body.get(name)
        if not isinstance(value, str) or not holds(value):
            raise ApiError(400, f"{name}: must be {form}")


def _rule(state: State, body: Mapping[str, Any]) -> Rule:
    if body["organization_id"] != state["organization_id"]:
        raise Denied(f"no organization {body['organization_id']}")
    for rule in state["rules"]:
        if rule["id"] == body["federation_rule_id"]:
            break
    else:
        raise Denied(f"no federation rule {body['federation_rule_id']}")
    account = body.get("service_account_id", rule["service_account_id"])
    if account != rule["service_account_id"]:
        raise Denied(f"rule {rule['id']} is not for service account {account}")
    return rule


def _check_claims(rule: Rule, claims: Mapping[str, Any]) -> None:
    lifetime = int(claims["exp"]) - int(claims["iat"])
    if lifetime > rule["max_lifetime"]:
        raise Denied(f"lifetime of {lifetime} s is more than {rule['max_lifetime']} s")
    wanted, subject = rule["subject"], claims["sub"]
    prefix = wanted.endswith("*") and subject.startswith(wanted[:-1])
    if subject != wanted and not prefix:
        raise Denied(f"subject {subject!r} does not match {wanted!r}")
    for name, value in rule["claims"].items():
        if claims.get(name) != value:
            raise Denied(f"claim {name} is {claims.get(name)!r} instead of {value!r}")


def _lifetime(rule: Rule, claims: Mapping[str, Any]) -> int:
    """The access token's lifetime in seconds: at most twice the time that the JWT has left."""
    left = int(claims["exp"]) - int(time.time())
    return min(rule["token_lifetime"], max(1, 2 * left))


def _use_up(state: State, claims: Mapping[str, Any]) -> None:
    """A JWT with a `jti` is accepted once. Raises Denied."""
    if "jti" not in claims:
        return
    living = [each for each in state["used_jwts"] if each["expires"] > time.time()]
    used = UsedJwt(
        issuer=claims["iss"], jti=str(claims["jti"]), expires=int(claims["exp"]) + _LEEWAY
    )
    if any((each["issuer"], each["jti"]) == (used["issuer"], used["jti"]) for each in living):
        raise Denied(f"jti {used['jti']!r} was exchanged before")
    state["used_jwts"] = [*living, used]


def _workspace(state: State, rule: Rule, asked: str | None) -> str:
    """The workspace that the token is bound to."""
    default = next(each["id"] for each in state["workspaces"] if each["default"])
    covered = rule["workspaces"]
    if asked is not None:
        chosen = default if asked == "default" else asked
        if chosen not in covered:
            raise Denied(f"rule {rule['id']} does not cover workspace {asked}")
        return chosen
    if len(covered) == 1:
        return covered[0]
    if default in covered:
        return default
    raise Denied(f"rule {rule['id']} covers several workspaces and none was named")
