"""The API as an ASGI application."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ..core.credentials import new_id
from .audit import Audit, Entry, without_secrets
from .auth.access import SURFACES, Surface, authenticate, authorize, check_headers
from .auth.federation import Exchange
from .auth.jwks import IssuerKeys
from .cutting import Silence
from .errors import TYPES, ApiError, Denied
from .faults import STATUSES, Fault, Faults
from .state import Store
from .tunnels import Tunnels

_MAX_BODY = 64 * 1024
Json = dict[str, Any]


@dataclass(frozen=True)
class _Call:
    """One call: its name, its place below the surface's prefix, its work on the tunnels."""

    name: str
    method: str
    path: str
    work: Callable[[Tunnels, Request, Json], Json]
    fields: Sequence[str] = ()


def _id(request: Request) -> str:
    return str(request.path_params["id"])


def _certificate(request: Request) -> str:
    return str(request.path_params["certificate"])


_CERTIFICATES = "/{id}/certificates"
_CREATE = _Call("create", "POST", "", lambda on, _, body: on.create(body), ("display_name",))
_CALLS = (
    _Call("list", "GET", "", lambda on, request, _: on.list(request.query_params)),
    _Call("get", "GET", "/{id}", lambda on, request, _: on.get(_id(request))),
    _Call("archive", "POST", "/{id}/archive", lambda on, request, _: on.archive(_id(request))),
    _Call(
        *("reveal_token", "POST", "/{id}/reveal_token"),
        lambda on, request, _: on.reveal_token(_id(request)),
    ),
    _Call(
        *("rotate_token", "POST", "/{id}/rotate_token"),
        lambda on, request, body: on.rotate_token(_id(request), body),
        ("reason",),
    ),
    _Call(
        *("add_certificate", "POST", _CERTIFICATES),
        lambda on, request, body: on.add_certificate(_id(request), body),
        ("ca_certificate_pem",),
    ),
    _Call(
        *("list_certificates", "GET", _CERTIFICATES),
        lambda on, request, _: on.list_certificates(_id(request), request.query_params),
    ),
    _Call(
        *("get_certificate", "GET", _CERTIFICATES + "/{certificate}"),
        lambda on, request, _: on.get_certificate(_id(request), _certificate(request)),
    ),
    _Call(
        *("archive_certificate", "POST", _CERTIFICATES + "/{certificate}/archive"),
        lambda on, request, _: on.archive_certificate(_id(request), _certificate(request)),
    ),
)


@dataclass(frozen=True)
class Api:
    """The state, the faults and the log behind the application."""

    store: Store
    audit: Audit
    keys: IssuerKeys
    faults: Faults = field(default_factory=Faults)

    def application(self) -> Starlette:
        """Return the ASGI application."""
        routes = [Route("/v1/oauth/token", self._exchange, methods=["POST"])]
        for surface in SURFACES:
            calls = _CALLS if surface.organization_wide else (_CREATE, *_CALLS)
            routes += [self._route(surface, call) for call in calls]
        application = Starlette(routes=routes, exception_handlers={HTTPException: self._elsewhere})
        application.router.redirect_slashes = False
        return application

    def _route(self, surface: Surface, call: _Call) -> Route:
        async def endpoint(request: Request) -> Response:
            async def effect(body: Json) -> Json:
                token = authenticate(self.store.read(), request.headers)
                check_headers(request.headers, surface)
                for name in body:
                    if name not in call.fields:
                        raise ApiError(400, f"{name}: unknown field")
                with self.store.change() as state:
                    workspace = authorize(state, token, request.headers, surface)
                    return call.work(Tunnels(state, workspace), request, body)

            return await self._answer(call.name, request, effect)

        return Route(surface.prefix + call.path, endpoint, methods=[call.method])

    async def _exchange(self, request: Request) -> Response:
        exchange = Exchange(self.store, self.keys)
        return await self._answer(
            "exchange", request, lambda body: exchange.answer(request.headers, body)
        )

    async def _elsewhere(self, request: Request, error: Exception) -> Response:
        """No such path or method."""
        assert isinstance(error, HTTPException)

        async def refuse(_: Json) -> Json:
            raise ApiError(error.status_code, f"{request.method} {request.url.path}: no such call")

        return await self._answer(None, request, refuse)

    async def _answer(
        self, name: str | None, request: Request, effect: Callable[[Json], Awaitable[Json]]
    ) -> Response:
        entry = Entry(
            name,
            request.method,
            request.url.path,
            dict(request.query_params),
            dict(request.headers),
        )
        fault = self.faults.take(name) if name else None
        entry.fault = fault.fault if fault else None
        request_id = new_id("req")
        try:
            body = await _body(request)
            entry.body = without_secrets(body)
            response = (await _before(fault)) or JSONResponse(await effect(body))
        except ApiError as error:
            entry.reason = error.reason if isinstance(error, Denied) else None
            response = _error(error, request_id)
        if fault and not isinstance(response, Silence):
            response = _after(fault, response)
        if not isinstance(response, Silence):
            entry.status = response.status_code
            entry.request_id = response.headers["request-id"] = request_id
        self.audit.write(entry)
        return response


async def _body(request: Request) -> Json:
    content = b""
    async for part in request.stream():
        content += part
        if len(content) > _MAX_BODY:
            raise ApiError(413, f"the request is larger than {_MAX_BODY} bytes")
    if not content:
        return {}
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise ApiError(400, "content-type: this header must be application/json")
    try:
        body = json.loads(content)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise ApiError(400, "the body is not a JSON object")
    return body


async def _before(fault: Fault | None) -> Response | None:
    """The answer in place of the effect, if the fault prevents it. Raises ApiError."""
    if fault is None:
        return None
    if fault.fault in STATUSES:
        status = int(fault.fault)
        raise ApiError(status, f"the laboratory says {TYPES[status]}", fault.retry_after)
    if fault.fault == "timeout_before":
        return Silence(fault.seconds)
    if fault.fault == "reset_before":
        return Silence(0)
    if fault.fault == "slow":
        await asyncio.sleep(fault.seconds)
    return None


def _after(fault: Fault, response: Response) -> Response:
    """Return the answer after an effect, as the fault changes it."""
    if fault.fault == "timeout_after":
        return Silence(fault.seconds)
    if fault.fault == "reset_after":
        return Silence(0)
    if fault.fault == "truncated":
        half = bytes(response.body)[: len(response.body) // 2]
        return Response(half, response.status_code, media_type="application/json")
    return response


def _error(error: ApiError, request_id: str) -> Response:
    content = {
        "type": "error",
        "error": {"type": TYPES[error.status], "message": str(error)},
        "request_id": request_id,
    }
    response = JSONResponse(content, error.status)
    if error.retry_after is not None:
        response.headers["retry-after"] = str(error.retry_after)
    return response
