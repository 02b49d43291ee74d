"""The places where issuers publish their keys, as routes of an ASGI application."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Host, Route, Router

from .issuers import Issuer

_CONFIGURATION = "/.well-known/openid-configuration"
_KEYS = "/.well-known/jwks"


def routes(issuers: Iterable[Issuer]) -> list[Host]:
    """Return each issuer's configuration and key set, at the issuer's host and path."""
    hosts: dict[str, list[Route]] = {}
    for issuer in issuers:
        host = str(urlsplit(issuer.url).hostname)
        hosts.setdefault(host, []).extend(_of(issuer))
    return [Host(host, Router(found)) for host, found in hosts.items()]


def _of(issuer: Issuer) -> list[Route]:
    url = issuer.url.rstrip("/")
    path = urlsplit(url).path

    async def configuration(_: Request) -> Response:
        return JSONResponse(
            {
                "issuer": issuer.url,
                "jwks_uri": url + _KEYS,
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            }
        )

    async def keys(_: Request) -> Response:
        return JSONResponse(issuer.jwks())

    return [Route(path + _CONFIGURATION, configuration), Route(path + _KEYS, keys)]
