"""AWS STS: GetWebIdentityToken (query protocol), for requests signed with Signature Version 4."""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from botocore.auth import SigV4Auth  # type: ignore[import-untyped]
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.credentials import Credentials  # type: ignore[import-untyped]
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .aws_metadata import ROLE, RoleCredentials
from .issuers import Issuer

_ACCOUNT = "123456789012"
SUBJECT = f"arn:aws:iam::{_ACCOUNT}:role/{ROLE}"
_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"
_VERSION = "2011-06-15"
_ALGORITHMS = ("RS256", "ES384")
_DURATION = (60, 300, 3600)  # least, default, most seconds
_SKEW = timedelta(minutes=5)
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<day>\d{8})/(?P<region>[\w-]+)/sts/aws4_request"
    r", ?SignedHeaders=(?P<headers>[\w;-]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)


class _Refused(Exception):
    """An error as STS answers it."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def routes(issuer: Issuer, credentials: RoleCredentials) -> list[Route]:
    """Return the endpoint."""

    async def act(request: Request) -> Response:
        body = await request.body()
        try:
            _check_signature(request, body, credentials)
            text = _answer(issuer, dict(parse_qsl(body.decode())))
        except _Refused as error:
            text = (
                f'<ErrorResponse xmlns="{_NAMESPACE}"><Error><Type>Sender</Type>'
                f"<Code>{error.code}</Code><Message>{escape(str(error))}</Message></Error>"
                f"<RequestId>{secrets.token_hex(16)}</RequestId></ErrorResponse>"
            )
            return Response(text, error.status, media_type="text/xml")
        return Response(text, media_type="text/xml")

    return [Route("/", act, methods=["POST"])]


def _check_signature(request: Request, body: bytes, role: RoleCredentials) -> None:
    parts = _AUTHORIZATION.fullmatch(request.headers.get("authorization", ""))
    if not parts:
        raise _Refused(403, "MissingAuthenticationToken", "Request is missing a signature")
    names = parts["headers"].split(";")
    date = request.headers.get("x-amz-date", "")
    if not {"host", "x-amz-date"} <= set(names) or not date.startswith(parts["day"]):
        raise _Refused(403, "IncompleteSignature", "host and x-amz-date must be signed")
    if parts["key"] != role.key_id or request.headers.get("x-amz-security-token") != role.session:
        raise _Refused(403, "InvalidClientTokenId", "The security token is invalid")
    try:
        signed = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
    except ValueError:
        raise _Refused(403, "IncompleteSignature", "x-amz-date is not a date") from None
    if abs(datetime.now(timezone.utc) - signed) > _SKEW:
        raise _Refused(403, "SignatureDoesNotMatch", f"Signature expired: {date}")
    # AWS's own library computes what the signature should have been.
    again = AWSRequest(
        method=request.method,
        url=str(request.url),
        data=body,
        headers={name: request.headers.get(name, "") for name in names},
    )
    again.context["timestamp"] = date
    keys = Credentials(role.key_id, role.secret, role.session)
    signer = SigV4Auth(keys, "sts", parts["region"])
    canonical = signer.canonical_request(again)
    expected = signer.signature(signer.string_to_sign(again, canonical), again)
    if not hmac.compare_digest(expected, parts["signature"]):
        raise _Refused(
            403, "SignatureDoesNotMatch", f"The canonical string should have been\n{canonical}"
        )


def _answer(issuer: Issuer, form: Mapping[str, str]) -> str:
    if form.get("Action") != "GetWebIdentityToken" or form.get("Version") != _VERSION:
        raise _Refused(400, "InvalidAction", "Could not find operation for this Action and Version")
    audiences = [
        value for name, value in form.items() if re.fullmatch(r"Audience\.member\.\d+", name)
    ]
    if not 1 <= len(audiences) <= 10:
        raise _Refused(400, "ValidationError", "Audience: between 1 and 10 members")
    algorithm = form.get("SigningAlgorithm")
    if algorithm not in _ALGORITHMS:
        raise _Refused(400, "ValidationError", "SigningAlgorithm: RS256 or ES384")
    least, default, most = _DURATION
    duration = form.get("DurationSeconds", str(default))
    if not duration.isdigit() or not least <= int(duration) <= most:
        raise _Refused(400, "ValidationError", f"DurationSeconds: between {least} and {most}")
    claims = {
        "aud": audiences if len(audiences) > 1 else audiences[0],
        "sub": SUBJECT,
        "jti": secrets.token_hex(16),
        "https://sts.amazonaws.com/": {"aws_account": _ACCOUNT, "principal_id": SUBJECT},
    }
    token = issuer.sign(claims, int(duration), algorithm)
    expires = datetime.now(timezone.utc) + timedelta(seconds=int(duration))
    return (
        f'<GetWebIdentityTokenResponse xmlns="{_NAMESPACE}"><GetWebIdentityTokenResult>'
        f"<WebIdentityToken>{token}</WebIdentityToken>"
        f"<Expiration>{expires:%Y-%m-%dT%H:%M:%SZ}</Expiration>"
        "</GetWebIdentityTokenResult><ResponseMetadata>"
        f"<RequestId>{secrets.token_hex(16)}</RequestId></ResponseMetadata>"
        "</GetWebIdentityTokenResponse>"
    )
