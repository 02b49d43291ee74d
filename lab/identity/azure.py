"""Azure's instance metadata service: access tokens of managed identities."""

from __future__ import annotations

import time

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .issuers import Issuer

#: Object id of the system-assigned identity, and of the user-assigned one with its client id.
SUBJECT = "0d4c8f4e-5e0a-4b55-9a3e-1f2f6f0c7c21"
_CLIENT_ID = "9b1f7f86-2c9d-4a52-8b8f-43a1c6c0b6de"
USER_CLIENT_ID = "51c4a9b2-7d13-47a6-a0f4-d2c9e8b5a7f0"
USER_SUBJECT = "c7e9a4d1-3f26-4c8b-b7d5-6a0e1b9f2c34"
_IDENTITIES = {_CLIENT_ID: SUBJECT, USER_CLIENT_ID: USER_SUBJECT}
_VERSIONS = ("2018-02-01", "2019-08-01", "2021-02-01")
#: Vendor behaviour: these live for a day, and begin five minutes ago.
_LIFETIME = 86400
_BACKDATED = 300
MAX_LIFETIME = _LIFETIME + _BACKDATED


def routes(issuer: Issuer) -> list[Route]:
    """Return the endpoint."""

    async def token(request: Request) -> Response:
        query = request.query_params
        if request.headers.get("metadata", "").lower() != "true":
            return _wrong("invalid_request", "Required metadata header not specified")
        if query.get("api-version") not in _VERSIONS:
            return _wrong("invalid_request", "Required query variable 'api-version' is missing")
        resource = query.get("resource")
        if not resource:
            return _wrong("invalid_request", "Required query variable 'resource' is missing")
        client = query.get("client_id", _CLIENT_ID)
        if client not in _IDENTITIES:
            return _wrong("invalid_request", "Identity not found")
        begins = int(time.time()) - _BACKDATED
        subject = _IDENTITIES[client]
        claims = {
            **{"aud": resource, "iat": begins, "nbf": begins, "appid": client},
            **{"idtyp": "app", "oid": subject, "sub": subject, "ver": "1.0"},
            "tid": issuer.url.rstrip("/").rpartition("/")[2],
        }
        return JSONResponse(
            {
                "access_token": issuer.sign(claims, MAX_LIFETIME),
                "client_id": client,
                "expires_in": str(_LIFETIME),
                "expires_on": str(begins + MAX_LIFETIME),
                "ext_expires_in": str(_LIFETIME),
                "not_before": str(begins),
                "resource": resource,
                "token_type": "Bearer",
            }
        )

    return [Route("/metadata/identity/oauth2/token", token)]


def _wrong(code: str, description: str) -> Response:
    return JSONResponse({"error": code, "error_description": description}, 400)
