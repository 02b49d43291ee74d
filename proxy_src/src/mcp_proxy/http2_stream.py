"""One request on an HTTP/2 connection, and what of its response waits for the client's window."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from h2.errors import ErrorCodes

from .http2_head import response_fields
from .messages import Headers, RequestHandler, RequestHead, ResponseHead

if TYPE_CHECKING:
    from .http2 import Http2Server


class Http2Stream:
    """One request and its response. Implements :class:`messages.ClientStream`."""

    def __init__(self, server: Http2Server, number: int, head: RequestHead) -> None:
        self.number = number
        self.head = head
        self.handler: RequestHandler | None = None
        self.complete = False
        self.trailers: Headers = []
        self.pending: deque[bytes | memoryview] = deque()
        self.pending_bytes = 0
        self.ending: Headers | None = None  # the response's trailers once all of it is pending
        self.queued = False
        self.gone = False
        self.paused = False
        self.held = False
        self.unacknowledged = 0
        self._server = server
        self._left_over = -1
        self._still_since = 0.0

    def send_interim(self, status: int, headers: Headers) -> None:
        """Pass on an interim response."""
        self._server.send_fields(self.number, response_fields(status, headers))

    def send_head(self, head: ResponseHead) -> None:
        """Send the head."""
        fields = response_fields(head.status, head.headers)
        if head.length is not None and head.status != 204:
            fields.append((b"content-length", b"%d" % head.length))
        self._server.send_fields(self.number, fields)

    def send_body(self, data: bytes) -> None:
        """Queue content; it leaves in this turn as far as the client's window allows."""
        if data:
            self.pending.append(data)
            self.pending_bytes += len(data)
            self._server.has_pending(self)

    def send_end(self, trailers: Headers) -> None:
        """End the response after what is pending."""
        self.handler = None
        self.ending = trailers
        self._server.has_pending(self)

    def still(self, now: float) -> float:
        """For how many seconds nothing of what is pending has left, as far as was looked."""
        if self.pending_bytes != self._left_over:
            self._left_over = self.pending_bytes
            self._still_since = now
        return now - self._still_since

    def abort(self) -> None:
        """Reset the stream: the response is incomplete."""
        self.handler = None
        self._server.reset(self, ErrorCodes.INTERNAL_ERROR)

    def hold(self) -> None:
        """Acknowledge no more content: the client may send one window at most."""
        self.held = True

    def release(self) -> None:
        """Acknowledge what has come, and what comes from now on."""
        self.held = False
        if self.unacknowledged:
            size, self.unacknowledged = self.unacknowledged, 0
            self._server.acknowledge(self, size)
