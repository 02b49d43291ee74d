"""One request and its response: from the client's stream to an upstream connection and back.

When a request may be sent again (RFC 9110 §9.2.2). An upstream may close an idle connection at the
very moment at which the next request leaves on it. The request is then sent once more, on a new
connection, if not one byte of a response had come on a connection that had been used before, and

- the connection was found closed before anything was written: always; or
- the method is idempotent and no content had been handed on: nothing is lost, and the request may
  even have been acted upon.

Every other one, a POST above all, is answered 502: it may have been processed, and only the client
can know whether twice is harmful.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from ..http.forwarding import host_value, request_bytes, response_headers, trailer_fields
from ..http.mcp_message import McpNames
from ..http.messages import ClientStream, Headers, RequestHead, ResponseHead
from ..http.own_answers import own_answer
from ..http.own_urls import public
from ..http1.client import ResponseError
from ..watch import log
from ..watch.access_log import AccessLog
from ..watch.metrics import NO_ROUTE, Metrics
from .dial import DialError
from .guard import Guard, Refused
from .pool import UpstreamConnection, UpstreamPool
from .router import Route, Router

_IDEMPOTENT: Final = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))
_SWITCHED: Final = 101
_SMALL: Final = 1 << 9
_JOINED: Final = 1 << 14
"""Bytes: early content smaller than that joins what came before it, up to that size. Each piece
costs some fifty bytes of its own, which nobody counts."""
_CLIENT_CLOSED: Final = 499
"""The status that log and metrics show if the client left before the answer's head."""


@dataclass(frozen=True)
class Forwarder:
    """State that all exchanges share.

    ``stall_timeout`` and ``gone_after`` are in seconds, for routes without timeouts of their own.
    """

    router: Router
    pool: UpstreamPool
    metrics: Metrics
    access_log: AccessLog
    stall_timeout: float
    gone_after: float = 60.0
    mcp_names: McpNames = field(default_factory=McpNames)

    def exchange(self, head: RequestHead, stream: ClientStream, peer: str) -> Exchange:
        """Start handling a request that came from the address *peer*."""
        exchange = Exchange(self, head, stream, peer)
        exchange.start()
        return exchange


class Exchange:
    """Implements :class:`http.messages.RequestHandler` and :class:`pool.UpstreamUser`.

    Content that comes while there is no connection makes it a :class:`system.budget.Holder`.
    """

    # Few requests ever change these: as class attributes, a new exchange need not set them.
    _route: Route | None = None
    _connection: UpstreamConnection | None = None
    _dialling: asyncio.Task[None] | None = None
    _trailers: Headers | None = None  # not None once the request is complete
    _most = math.inf  # bytes of content that there may be
    _status = 0
    _received = 0
    _sent = 0
    _forwarded_content = False
    _upload_paused = False
    _download_paused = False
    _done = False
    _moved = -1
    _still_since = 0.0
    _look_at = 0.0  # when to see whether the upstream is still there
    noted = 0
    _waited: float | None = None  # seconds until the upstream's answer began
    _seconds = 0.0  # from its begin to its end
    _error: str | None = None  # that ended it

    def __init__(
        self, forwarder: Forwarder, head: RequestHead, stream: ClientStream, peer: str
    ) -> None:
        self._forwarder = forwarder
        self._head = head
        self._stream = stream
        self._peer = peer
        self._started = time.monotonic()
        self._early: list[bytes] = []  # content that came while there was no connection

    def start(self) -> None:
        """Find the route, and a connection to its upstream."""
        head = self._head
        route = self._forwarder.router.lookup(head.authority.decode("latin-1"))
        self._route = route
        name = route.name if route else NO_ROUTE
        self._forwarder.metrics.request_started(name)
        self._forwarder.access_log.started(head, name)
        if route is None:
            log.event(log.logger, log.WARN, "no route for host", host=head.authority)
            self._answer(502, "No route configured for host", "destination_not_found")
            return
        if route.guard is not None and not self._passes(route, route.guard):
            return
        connection = self._forwarder.pool.take(route.upstream)
        if connection is None:
            self._dial(route)
        else:
            self._forwarder.metrics.upstream_reused(route.name)
            self._send_on(connection, route)

    def _passes(self, route: Route, guard: Guard) -> bool:
        """Whether *guard* lets the request through; if not, it is answered."""
        self._most = guard.max_body_bytes
        in_flight = self._forwarder.metrics.in_flight(route.name)
        refused = guard.refusal(self._head, in_flight, self._started)
        if refused is not None:
            self._refuse(route, refused)
        return refused is None

    def _refuse(self, route: Route, refused: Refused) -> None:
        """Answer in the upstream's place for an option of *route*."""
        self._forwarder.metrics.request_refused(route.name, refused.option)
        error = f'{refused.error}; details="{refused.option}"'
        logged = f"refused by {refused.option}"
        self._answer(refused.status, refused.text, error, logged, refused.fields)

    # -- towards the upstream ----------------------------------------------------------------

    def _dial(self, route: Route) -> None:
        self._dialling = asyncio.ensure_future(self._connect(route))

    async def _connect(self, route: Route) -> None:
        try:
            connection = await self._forwarder.pool.dial(route.upstream)
        except DialError as error:
            self._dialling = None
            if self._done:
                return
            self._note_dial_error(route, error)
            self._answer(error.status, error.public, error.error, str(error))
            return
        self._dialling = None
        if self._done:
            # Cancelled in the very turn in which the connection was made: before Python 3.12,
            # asyncio.wait_for() then returns as if nothing had been.
            connection.discard()
            return
        self._forwarder.metrics.upstream_connected(route.name)
        self._send_on(connection, route)

    def _note_dial_error(self, route: Route, error: DialError) -> None:
        metrics = self._forwarder.metrics
        if error.reason == "validation":
            metrics.validation_refused(route.name)
        else:
            metrics.upstream_failed(route.name, error.reason)
        log.event(log.logger, log.ERROR, str(error), route=route.name, upstream=str(route.upstream))

    def _send_on(self, connection: UpstreamConnection, route: Route) -> None:
        self._connection = connection
        head = self._head
        host = host_value(route.upstream) if route.rewrite_host else head.authority
        data = request_bytes(head, self._peer.encode("ascii"), host)
        connection.begin(self, data, head.method, head.upgrade)
        if self._download_paused:
            connection.pause_reading()
        if self._early:
            for data in self._early:
                self._forward(connection, data)
            self._keep_early(None)
        if self._trailers is not None and head.length is None:
            self._forward_end(connection, self._trailers)
        if not self._upload_paused:
            self._stream.release()

    def _forward(self, connection: UpstreamConnection, data: bytes) -> None:
        self._forwarded_content = True
        if self._head.length is None:
            connection.write_chunk(data)
        else:
            connection.write(data)

    def _forward_end(self, connection: UpstreamConnection, trailers: Headers) -> None:
        """End content of unknown length."""
        connection.write_last_chunk(trailer_fields(trailers))

    def request_body(self, data: bytes) -> None:
        """See :class:`http.messages.RequestHandler`."""
        if self._done:
            return
        self._received += len(data)
        if self._received > self._most and self._status != _SWITCHED:
            self._too_large()
        elif self._connection is None:
            self._keep_early(data)
            self._stream.hold()
        else:
            self._forward(self._connection, data)

    def _too_large(self) -> None:
        """Give up a request whose content turns out to be more than it may be."""
        route = self._route
        if route is None or route.guard is None:
            return
        self._release_upstream()
        refused = route.guard.too_large()
        if self._status == 0:
            self._refuse(route, refused)
            return
        self._forwarder.metrics.request_refused(route.name, refused.option)
        self._finish(f"refused by {refused.option}")
        self._stream.abort()

    def _keep_early(self, data: bytes | None) -> None:
        """Keep *data* until there is a connection; with ``None``, keep nothing any more."""
        early = self._early
        if data is None:
            early.clear()
        elif early and len(data) < _SMALL and len(early[-1]) < _JOINED:
            early[-1] += data
        else:
            early.append(data)
        self._forwarder.pool.turn.budget.note(self, self.held)

    @property
    def held(self) -> int:
        """See :class:`system.budget.Holder`."""
        return sum(map(len, self._early))

    def give_way(self, held: int) -> None:
        """See :class:`system.budget.Holder`."""
        if self._done:
            return
        self._release_upstream()
        self._finish(f"too much waits: {held} bytes for a connection to the upstream")
        self._stream.abort()

    def request_end(self, trailers: Headers) -> None:
        """See :class:`http.messages.RequestHandler`."""
        if self._done:
            return
        self._trailers = trailers
        if self._connection is not None and self._head.length is None:
            self._forward_end(self._connection, trailers)

    def pause_upload(self) -> None:
        """See :class:`pool.UpstreamUser`."""
        self._upload_paused = True
        self._stream.hold()

    def resume_upload(self) -> None:
        """See :class:`pool.UpstreamUser`."""
        self._upload_paused = False
        if self._connection is not None:
            self._stream.release()

    # -- towards the client ------------------------------------------------------------------

    @property
    def room(self) -> int:
        """See :class:`pool.UpstreamUser`."""
        return self._stream.room

    def response_interim(self, status: int, headers: Headers) -> None:
        """See :class:`http1.client.ResponseHandler`."""
        self._stream.send_interim(status, response_headers(headers))

    def response_head(self, head: ResponseHead) -> None:
        """See :class:`http1.client.ResponseHandler`."""
        self._status = head.status
        self._waited = time.monotonic() - self._started
        fields = response_headers(head.headers)
        if self._route is not None:
            self._forwarder.metrics.upstream_answered(self._route.name, self._waited)
            if self._route.rewrite_host:
                fields = public(fields, self._route.upstream, self._head.authority)
        head.headers = fields
        self._stream.send_head(head)

    def response_body(self, data: bytes) -> None:
        """See :class:`http1.client.ResponseHandler`."""
        self._sent += len(data)
        self._stream.send_body(data)

    def response_end(self, trailers: Headers) -> None:
        """See :class:`http1.client.ResponseHandler`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            # In HTTP/2 the end may come by itself, after all of the content that was announced.
            all_sent = self._trailers is not None or self._received == self._head.length
            connection.finish(request_complete=all_sent)
        self._finish()
        self._stream.send_end(trailer_fields(trailers) if trailers else [])

    def pause(self) -> None:
        """See :class:`http.messages.RequestHandler`."""
        self._download_paused = True
        if self._connection is not None:
            self._connection.pause_reading()

    def resume(self) -> None:
        """See :class:`http.messages.RequestHandler`."""
        self._download_paused = False
        if self._connection is not None:
            self._connection.resume_reading()

    def _answer(
        self,
        status: int,
        text: str,
        error: str,
        logged: str | None = None,
        more: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        """Answer the request in the upstream's place; *logged* is the error in the log."""
        head, content = own_answer(status, text, error, more)
        self._status = status
        self._sent += len(content)
        self._finish(logged)
        self._stream.send_head(head)
        self._stream.send_body(content)
        self._stream.send_end([])

    # -- when something goes wrong -----------------------------------------------------------

    def upstream_failed(self, error: Exception, untouched: bool) -> None:
        """See :class:`pool.UpstreamUser`."""
        connection, self._connection = self._connection, None
        route = self._route
        if connection is None or route is None:
            return
        if (
            connection.used
            and untouched
            and self._head.method in _IDEMPOTENT
            and not self._forwarded_content
        ):
            self._dial(route)
            return
        text = f"upstream failed: {error or type(error).__name__}"
        log.event(log.logger, log.ERROR, text, route=route.name, upstream=str(route.upstream))
        if self._status == 0:
            kind = error.error if isinstance(error, ResponseError) else "connection_terminated"
            sentence = "Upstream closed the connection or sent no valid answer"
            self._answer(502, sentence, kind, text)
        else:
            self._finish(text)
            self._stream.abort()

    def client_gone(self) -> None:
        """See :class:`http.messages.RequestHandler`."""
        if self._done:
            return
        if self._status == _SWITCHED:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()
            self._finish()
            return
        self._release_upstream()
        error = "client left before the end of the response"
        if self._status == 0:
            self._status = _CLIENT_CLOSED
        self._finish(error)

    def tick(self, now: float) -> None:
        """See :class:`http.messages.RequestHandler`: no side may keep the other waiting for ever.

        The limits are for a client that does not take its response, a client that does not send the
        content that it announced, and an upstream that does not take that content. A silent
        upstream is no such case, as long as its machine is there: it may be busy with a long tool
        call, or send a stream of rare events.
        """
        stall_timeout, gone_after = self._forwarder.stall_timeout, self._forwarder.gone_after
        if self._route is not None and (own := self._route.options.timeouts) is not None:
            stall_timeout, gone_after = own.idle, own.upstream_gone
        moved = self._received + self._sent
        waiting = (
            self._download_paused
            or self._upload_paused
            or (self._trailers is None and self._status == 0)
        )
        if moved != self._moved:
            self._look_at = now + gone_after
        elif now >= self._look_at and self._connection is not None:
            self._look_at = now + gone_after / 8
            self._connection.check(gone_after)
        if moved != self._moved or not waiting:
            self._moved = moved
            self._still_since = now
        elif now - self._still_since >= stall_timeout and not self._done:
            self._stalled()

    def _stalled(self) -> None:
        self._release_upstream()
        if self._status:
            slow = "upstream" if self._upload_paused else "client"
            self._finish(f"stalled: the {slow} does not take what there is for it")
            self._stream.abort()
        elif self._upload_paused:
            sentence = "Upstream does not take the request"
            self._answer(504, sentence, "connection_write_timeout", "stalled upload")
        else:
            sentence = "Request content not received in time"
            self._answer(408, sentence, "http_request_error", "stalled request")

    def _release_upstream(self) -> None:
        if self._dialling is not None:
            self._dialling.cancel()
            self._dialling = None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.discard()

    def _finish(self, error: str | None = None) -> None:
        self._done = True
        if self._early:
            self._keep_early(None)
        name = self._route.name if self._route else NO_ROUTE
        self._seconds = seconds = time.monotonic() - self._started
        self._error = error
        forwarder = self._forwarder
        forwarder.metrics.request_finished(name, self._status, seconds, self._received, self._sent)
        # The rest can wait until the answer has left, which is under way in this turn.
        forwarder.pool.turn.add(self._tell)

    def _tell(self) -> None:
        """Tell metrics and log about the request, which is over."""
        forwarder, head, seconds = self._forwarder, self._head, self._seconds
        name = self._route.name if self._route else NO_ROUTE
        message = forwarder.mcp_names.message(head.headers)
        if message is not None:
            forwarder.metrics.mcp_request_finished(name, message, seconds)
        forwarder.access_log.finished(
            head,
            name,
            self._status,
            self._received,
            self._sent,
            seconds,
            self._waited,
            self._error,
            message,
        )
