"""Okta: client credentials with private_key_jwt (RFC 6749 section 4.4, RFC 7523 section 2.2)."""

from __future__ import annotations

import secrets

import jwt
from cryptography.hazmat.primitives import serialization
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .issuers import Issuer

CLIENT_ID = "0oa2labtunnelhost5d7"
SCOPE = "mcp_tunnels"
_AUDIENCE = "https://api.anthropic.com"
_PATH = "/oauth2/default/v1/token"
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_MAX_LIFETIME = 3600
_LIFETIME = 3600


class Client:
    """The registered service application: the public half of its key, and assertions seen."""

    def __init__(self, public_pem: bytes, issuer: Issuer) -> None:
        self._key = serialization.load_pem_public_key(public_pem)
        self._issuer = issuer
        self._seen: set[str] = set()

    def check(self, assertion: str) -> None:
        """Raise jwt.PyJWTError unless the client signed the assertion, for us, just now."""
        claims = jwt.decode(
            assertion,
            self._key,  # type: ignore[arg-type]
            algorithms=["RS256", "RS384", "RS512", "ES256", "ES384", "ES512"],
            audience=[self._issuer.url + "/v1/token", self._issuer.url],
            issuer=CLIENT_ID,
            subject=CLIENT_ID,
            options={"require": ["aud", "exp", "iss", "sub"]},
        )
        issued = claims.get("iat")
        if issued is not None and claims["exp"] - issued > _MAX_LIFETIME:
            raise jwt.InvalidTokenError("The client_assertion lives for more than an hour.")
        identifier = claims.get("jti")
        if identifier in self._seen:
            raise jwt.InvalidTokenError("The client_assertion was used before (jti).")
        if identifier is not None:
            self._seen.add(identifier)


def routes(issuer: Issuer, client: Client) -> list[Route]:
    """Return the token endpoint below the issuer."""

    async def token(request: Request) -> Response:
        form = {name: str(value) for name, value in (await request.form()).items()}
        if form.get("grant_type") != "client_credentials":
            return _wrong(400, "unsupported_grant_type", "The grant type is not supported.")
        if form.get("client_assertion_type") != _ASSERTION_TYPE:
            return _wrong(401, "invalid_client", "The client_assertion_type is invalid.")
        try:
            client.check(form.get("client_assertion", ""))
        except jwt.PyJWTError as error:
            return _wrong(401, "invalid_client", str(error))
        if form.get("scope") != SCOPE:
            return _wrong(400, "invalid_scope", "One or more scopes are not configured.")
        claims = {
            **{"ver": 1, "jti": "AT." + secrets.token_urlsafe(32), "aud": _AUDIENCE},
            **{"cid": CLIENT_ID, "scp": [SCOPE], "sub": CLIENT_ID},
        }
        return JSONResponse(
            {
                "token_type": "Bearer",
                "expires_in": _LIFETIME,
                "access_token": issuer.sign(claims, _LIFETIME),
                "scope": SCOPE,
            }
        )

    return [Route(_PATH, token, methods=["POST"])]


def _wrong(status: int, code: str, description: str) -> Response:
    return JSONResponse({"error": code, "error_description": description}, status)
