"""Requests for a route with options: refused, or sent upstream once, as the options say.

The exchange, the guard and the router are the real ones. The upstream takes down what it is sent,
and answers a request in the moment in which it is complete. All is judged afterwards: the parser of
HTTP/1.1 keeps what is raised meanwhile to itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

from mcp_proxy.config.model import Rate, RouteOptions, Upstream
from mcp_proxy.http.messages import (
    ClientStream,
    OnRequest,
    RequestHandler,
    RequestHead,
    ResponseHead,
)
from mcp_proxy.system.budget import Budget
from mcp_proxy.system.build import BUILD
from mcp_proxy.upstream.exchange import Forwarder
from mcp_proxy.upstream.pool import UpstreamPool
from mcp_proxy.upstream.router import Router
from mcp_proxy.watch.access_log import AccessLog
from mcp_proxy.watch.metrics import Metrics
from path_readings import outside
from wire import Incomplete, read_requests

_MOST_BYTES, _MOST_IN_FLIGHT, _MOST_REQUESTS = 64, 2, 6
_METHODS = ("GET", "HEAD", "POST")
_PATHS = (b"/mcp", b"/a")
_LIMITS = RouteOptions(
    max_body_bytes=_MOST_BYTES,
    max_in_flight=_MOST_IN_FLIGHT,
    rate=Rate(_MOST_REQUESTS, 1e9),
    rewrite_host=True,
    spread=True,
)
_OPTIONS = (
    _LIMITS,
    RouteOptions(methods=_METHODS, paths=tuple(path.decode() for path in _PATHS)),
)
_HOST = b"echo.t.example"  # every request is one for the route
_LENGTH = re.compile(rb"\r\nContent-Length: (\d+)\r\n")


class _Connection:
    """Stands in for :class:`mcp_proxy.upstream.pool.UpstreamConnection`."""

    used = True

    def __init__(self) -> None:
        self.wire = b""
        self.head = b""
        self.complete = False
        self.open = True
        self.late = False

    def begin(self, user: Any, head: bytes, method: bytes, upgrade: bytes = b"") -> None:
        self._user = user
        self.wire = self.head = head
        length = _LENGTH.search(head)
        self.announced = self._left = int(length[1]) if length else 0
        if not self._left and b"\r\nTransfer-Encoding: chunked\r\n" not in head:
            self._answer()

    def write(self, data: bytes) -> None:
        self.late |= not self.open
        self.wire += data
        self._left -= len(data)
        if not self._left:
            self._answer()

    def write_chunk(self, data: bytes) -> None:
        self.late |= not self.open
        self.wire += b"%x\r\n%b\r\n" % (len(data), data)

    def write_last_chunk(self, trailers: list[tuple[bytes, bytes]]) -> None:
        self.late |= not self.open
        lines = b"".join(b"%b: %b\r\n" % field for field in trailers)
        self.wire += b"0\r\n" + lines + b"\r\n"
        self._answer()

    def _answer(self) -> None:
        self.complete = True
        self._user.response_head(ResponseHead(200, [], 2))
        self._user.response_body(b"ok")
        self._user.response_end([])

    def finish(self, request_complete: bool) -> None:
        self.open = False

    def discard(self) -> None:
        self.open = False

    def pause_reading(self) -> None:
        """Nothing to do."""

    resume_reading = pause_reading


class _Pool(list[_Connection]):
    """Stands in for :class:`mcp_proxy.upstream.pool.UpstreamPool`, and for its turn."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self.turn = self
        self.budget = Budget()
        self.add = lambda work: None

    def take(self, upstream: Upstream) -> _Connection:
        self.append(_Connection())
        self.peak = max(self.peak, sum(connection.open for connection in self))
        return self[-1]


def check(serve: Callable[[OnRequest], object]) -> object:
    """Serve the requests of an input, with the limits of a route and with its lists.

    *serve* hands them to what it is given. Returns what it has, and what has reached the upstream:
    each complete request as it is read, and the heads of the others. Compiled code takes no
    connection but its own: it is asked nothing here.
    """
    if BUILD == "compiled":
        return []
    return [_checked(serve, options) for options in _OPTIONS]


def _checked(serve: Callable[[OnRequest], object], options: RouteOptions) -> object:
    pool = _Pool()
    router = Router({"echo": Upstream("http", "u", 80)}, "t.example", {"echo": options})
    metrics = Metrics()
    forwarder = Forwarder(router, cast(UpstreamPool, pool), metrics, AccessLog(False), 60.0)

    def exchange(head: RequestHead, stream: ClientStream) -> RequestHandler:
        return forwarder.exchange(replace(head, authority=_HOST), stream, "127.0.0.1")

    served = serve(exchange)
    # A request that was answered without the upstream has let it go, and nothing else has.
    assert sum(connection.open for connection in pool) == metrics.in_flight("echo")
    if options is _LIMITS:
        assert pool.peak <= _MOST_IN_FLIGHT
        assert len(pool) <= _MOST_REQUESTS
    return served, [_read(connection, options) for connection in pool]


def _read(connection: _Connection, options: RouteOptions) -> object:
    """What a strict reader finds, which must be what the options let through."""
    assert not connection.late
    method, target, _rest = connection.head.split(b" ", 2)
    if options is _LIMITS:
        assert connection.announced <= _MOST_BYTES
    if options.methods:
        assert method.decode() in options.methods
    if options.paths:
        assert outside(target, _PATHS) == set(), target
    try:
        found = read_requests(connection.wire)
    except Incomplete:
        assert not connection.complete
        return connection.head
    assert connection.complete
    (request,) = found
    if options is _LIMITS:
        assert len(request.body) <= _MOST_BYTES
    if options.rewrite_host:
        assert request.values(b"host") == [b"u"]
    return request
