"""GCP's metadata server: identity tokens of the instance's service account."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from .issuers import Issuer

SUBJECT = "104837462910475839201"
_EMAIL = "tunnel-host@lab-project.iam.gserviceaccount.com"
_ACCOUNTS = ("default", _EMAIL)
_FLAVOR = {"Metadata-Flavor": "Google", "Server": "Metadata Server for VM"}
_LIFETIME = 3600


def routes(issuer: Issuer) -> list[Route]:
    """Return the endpoint."""

    async def identity(request: Request) -> Response:
        if request.headers.get("metadata-flavor") != "Google":
            return _answer(403, "Missing Metadata-Flavor:Google header.")
        if "x-forwarded-for" in request.headers:
            return _answer(403, "X-Forwarded-For is not allowed.")
        if request.path_params["account"] not in _ACCOUNTS:
            return _answer(404, "service account not found")
        audience = request.query_params.get("audience")
        if not audience:
            return _answer(400, "non-empty audience parameter required")
        if request.query_params.get("format", "standard") not in ("standard", "full"):
            return _answer(400, "format must be standard or full")
        claims: dict[str, Any] = {"aud": audience, "azp": SUBJECT, "sub": SUBJECT}
        if request.query_params.get("format") == "full":
            claims |= {"email": _EMAIL, "email_verified": True, "google": _INSTANCE}
        return _answer(200, issuer.sign(claims, _LIFETIME))

    path = "/computeMetadata/v1/instance/service-accounts/{account}/identity"
    return [Route(path, identity)]


_INSTANCE = {
    "compute_engine": {
        "instance_id": "7298374651029384756",
        "instance_name": "host1",
        "project_id": "lab-project",
        "project_number": 482910375612,
        "zone": "europe-west1-b",
    }
}


def _answer(status: int, text: str) -> Response:
    return PlainTextResponse(text, status, _FLAVOR)
