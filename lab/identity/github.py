"""GitHub Actions: the endpoint that a job asks for its OIDC token."""

from __future__ import annotations

import hmac
import secrets

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .issuers import Issuer

SUBJECT = "repo:acme/tunnels:ref:refs/heads/main"
_PATH = "/actions/_apis/distributedtask/idtoken"
#: The part behind the host in ACTIONS_ID_TOKEN_REQUEST_URL.
REQUEST = _PATH + "?api-version=2.0"
_DEFAULT_AUDIENCE = "https://github.com/acme"
_LIFETIME = 300
_CLAIMS = {
    **{"actor": "octocat", "event_name": "push", "ref": "refs/heads/main", "ref_type": "branch"},
    **{
        "repository": "acme/tunnels",
        "repository_owner": "acme",
        "runner_environment": "self-hosted",
    },
    "job_workflow_ref": "acme/tunnels/.github/workflows/deploy.yml@refs/heads/main",
}


def routes(issuer: Issuer, bearer: str) -> list[Route]:
    """Return the endpoint; `bearer` is the job's ACTIONS_ID_TOKEN_REQUEST_TOKEN."""

    async def token(request: Request) -> Response:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given, bearer):
            return JSONResponse({"message": "Unauthorized"}, 401)
        audience = request.query_params.get("audience", _DEFAULT_AUDIENCE)
        claims = {**_CLAIMS, "aud": audience, "sub": SUBJECT, "jti": secrets.token_hex(16)}
        value = issuer.sign(claims, _LIFETIME)
        return JSONResponse({"count": len(value), "value": value})

    return [Route(_PATH, token)]
