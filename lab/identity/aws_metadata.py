"""AWS's instance metadata service, version 2: credentials of the instance's role."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from ..core.credentials import write_secret

REGION = "eu-central-1"
ROLE = "tunnel-host"
_TTL = "x-aws-ec2-metadata-token-ttl-seconds"
_MAX_TTL = 21600
_LIFETIME = timedelta(hours=6)


@dataclass(frozen=True)
class RoleCredentials:
    """Temporary credentials of the role."""

    key_id: str
    secret: str
    session: str

    @classmethod
    def kept(cls, path: Path) -> RoleCredentials:
        """Return those in `path` (0600), made up on first use."""
        if not path.exists():
            made = cls(
                "ASIA" + secrets.token_hex(8).upper(),
                secrets.token_urlsafe(30),
                secrets.token_urlsafe(120),
            )
            write_secret(path, json.dumps(asdict(made)))
        return cls(**json.loads(path.read_text()))


@dataclass
class _Sessions:
    """Tokens that were given out. They are not aged: a lab does not live that long."""

    given: set[str] = field(default_factory=set)

    def knows(self, request: Request) -> bool:
        return request.headers.get("x-aws-ec2-metadata-token") in self.given


def routes(credentials: RoleCredentials) -> list[Route]:
    """Return the endpoints."""
    sessions = _Sessions()

    async def token(request: Request) -> Response:
        seconds = request.headers.get(_TTL, "")
        if not seconds.isdigit() or not 1 <= int(seconds) <= _MAX_TTL:
            return PlainTextResponse("", 400)
        if "x-forwarded-for" in request.headers:
            return PlainTextResponse("", 403)
        given = secrets.token_urlsafe(40)
        sessions.given.add(given)
        return PlainTextResponse(given, headers={_TTL: seconds})

    def shown(text: str) -> Callable[[Request], Response]:
        return lambda request: (
            PlainTextResponse(text) if sessions.knows(request) else PlainTextResponse("", 401)
        )

    async def secret(request: Request) -> Response:
        if not sessions.knows(request):
            return PlainTextResponse("", 401)
        if request.path_params["role"] != ROLE:
            return PlainTextResponse("", 404)
        return PlainTextResponse(json.dumps(_shown(credentials)))

    below = "/latest/meta-data"
    return [
        Route("/latest/api/token", token, methods=["PUT"]),
        Route(f"{below}/placement/region", shown(REGION)),
        Route(f"{below}/iam/security-credentials/", shown(ROLE)),
        Route(f"{below}/iam/security-credentials/{{role}}", secret),
    ]


def _shown(credentials: RoleCredentials) -> dict[str, str]:
    moment = datetime.now(timezone.utc)
    form = "%Y-%m-%dT%H:%M:%SZ"
    return {
        "Code": "Success",
        "LastUpdated": moment.strftime(form),
        "Type": "AWS-HMAC",
        "AccessKeyId": credentials.key_id,
        "SecretAccessKey": credentials.secret,
        "Token": credentials.session,
        "Expiration": (moment + _LIFETIME).strftime(form),
    }
