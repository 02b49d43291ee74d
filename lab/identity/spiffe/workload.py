"""The Workload API's server at a unix socket: JWT-SVIDs and their bundles."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]

from ..issuers import Issuer
from . import messages

TRUST_DOMAIN = "spiffe://lab.internal"
SUBJECT = f"{TRUST_DOMAIN}/mcp/tunnel"
_LIFETIME = 300
_POLL = 1.0
#: Every call must carry this (SPIFFE_Workload_Endpoint, section 6): no browser can send it.
METADATA = ("workload.spiffe.io", "true")


class _Workload:
    """The one workload that this agent knows: every caller is it."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer

    async def fetch(self, request: Any, context: Any) -> Any:
        await _check(context)
        if not request.audience:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "audience must be specified")
        if request.spiffe_id not in ("", SUBJECT):
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "no identity issued")
        claims = {"aud": list(request.audience), "sub": SUBJECT}
        svid = {"spiffe_id": SUBJECT, "svid": self._issuer.sign(claims, _LIFETIME)}
        return messages.JWTSVIDResponse(svids=[svid])

    async def bundles(self, _request: Any, context: Any) -> AsyncIterator[Any]:
        """Send the bundle now, and again whenever it changes."""
        await _check(context)
        sent = None
        while True:
            keys = self._issuer.jwks()
            if keys != sent:
                bundle = {"key": TRUST_DOMAIN, "value": json.dumps(keys).encode()}
                yield messages.JWTBundlesResponse(bundles=[bundle])
                sent = keys
            await asyncio.sleep(_POLL)


async def _check(context: Any) -> None:
    if METADATA not in [tuple(each) for each in context.invocation_metadata()]:
        await context.abort(
            grpc.StatusCode.INVALID_ARGUMENT, "security header missing from request"
        )


async def serve(issuer: Issuer, socket: Path) -> Any:
    """Start the server and return it; stop it with `await server.stop(seconds)`."""
    workload = _Workload(issuer)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        [
            grpc.method_handlers_generic_handler(
                messages.SERVICE,
                {
                    "FetchJWTSVID": grpc.unary_unary_rpc_method_handler(
                        workload.fetch,
                        messages.JWTSVIDRequest.FromString,
                        messages.JWTSVIDResponse.SerializeToString,
                    ),
                    "FetchJWTBundles": grpc.unary_stream_rpc_method_handler(
                        workload.bundles,
                        messages.JWTBundlesRequest.FromString,
                        messages.JWTBundlesResponse.SerializeToString,
                    ),
                },
            )
        ]
    )
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    return server
