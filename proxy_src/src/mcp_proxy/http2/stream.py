"""One request on an HTTP/2 connection, and what of its response waits for the client's window."""

from __future__ import annotations

from collections import deque
from typing import Final, Protocol

from ..http.messages import BODILESS_STATUSES, Headers, RequestHandler, RequestHead, ResponseHead
from .frames import ErrorCode, StreamFault
from .windows import ReceiveWindow

STREAM_WINDOW: Final = 1 << 18
"""Bytes of a request's content that may be on the way to an upstream."""

_DISCARD: Final = 1 << 18
"""Bytes of a request's content still taken after its answer."""


class Http2Output(Protocol):
    """The connection, as far as a response on it needs to know."""

    @property
    def room(self) -> int:
        """See :class:`http.messages.ClientStream`."""

    def send_interim(self, stream: Http2Stream, status: int, fields: Headers) -> None:
        """Send an interim response on *stream*."""

    def has_pending(self, stream: Http2Stream) -> None:
        """*stream* has something to send."""

    def send_content(self, stream: Http2Stream, data: bytes) -> None:
        """Send *data* on *stream*, as the windows allow."""

    def reset(self, stream: Http2Stream, code: ErrorCode) -> None:
        """Give *stream* up; the part of its response that the client takes now still goes out."""

    def acknowledge(self, stream: Http2Stream, size: int) -> None:
        """Open the windows again by *size* bytes of *stream*'s content."""


class Http2Stream:
    """One request and its response. Implements :class:`http.messages.ClientStream`."""

    def __init__(
        self, output: Http2Output, number: int, length: int | None, complete: bool, head_only: bool
    ) -> None:
        """*length* is the announced size of the content; *head_only* if the method is HEAD."""
        self.number = number
        self.handler: RequestHandler | None = None
        self.complete = complete
        self.undecided: RequestHead | None = None  # a request that is not begun yet
        self.answered = False  # the final head has been given, sent or not
        self.window = 0  # what may be sent
        self.head: tuple[int, Headers] | None = None  # status and fields not yet sent
        self.pending: deque[bytes | memoryview] = deque()
        self.pending_bytes = 0
        self.interim_bytes = 0  # of interim responses that have not left yet
        self.field_bytes = 0  # of a head and trailers that have not left yet, as far as counted
        self.request_field_bytes = 0  # of its head and trailers, as far as the handler has them
        self.ending: Headers | None = None  # the response's trailers once all of it is pending
        self.queued = False
        self.gone = False
        self.paused = False
        self.held = False
        self.unacknowledged = 0
        self.intake = ReceiveWindow(STREAM_WINDOW)
        self.discardable = _DISCARD
        self._output = output
        self._missing = length
        self._bodiless = head_only
        self._left_over = -1
        self._still_since = 0.0

    @property
    def room(self) -> int:
        """See :class:`http.messages.ClientStream`."""
        return self._output.room

    def received(self, size: int, ended: bool) -> None:
        """*size* bytes of content have come. Raises :class:`StreamFault` (RFC 9113 §8.1.1)."""
        if self._missing is not None:
            self._missing -= size
            if self._missing < 0 or (ended and self._missing):
                raise StreamFault(ErrorCode.PROTOCOL_ERROR)
        if ended:
            self.complete = True

    def send_interim(self, status: int, headers: Headers) -> None:
        """Pass on an interim response."""
        self._output.send_interim(self, status, headers)

    def send_head(self, head: ResponseHead) -> None:
        """Queue the head: if nothing follows it in this turn, it carries the end."""
        fields = head.headers
        if head.length is not None and head.status != 204:
            fields = [*fields, (b"content-length", b"%d" % head.length)]
        self._bodiless = self._bodiless or head.status in BODILESS_STATUSES
        self.answered = True
        self.head = (head.status, fields)
        self._output.has_pending(self)

    def send_body(self, data: bytes) -> None:
        """Queue content; it leaves in this turn as far as the client's window allows."""
        if data and not self._bodiless:
            self._output.send_content(self, data)

    def send_end(self, trailers: Headers) -> None:
        """End the response after what is pending."""
        self.handler = None
        self.ending = trailers
        self._output.has_pending(self)

    def still(self, now: float) -> float:
        """For how many seconds nothing of what is pending has left, as far as was looked."""
        if self.pending_bytes != self._left_over:
            self._left_over = self.pending_bytes
            self._still_since = now
        return now - self._still_since

    def abort(self) -> None:
        """Reset the stream: the response is incomplete."""
        self.handler = None
        self._output.reset(self, ErrorCode.INTERNAL_ERROR)

    def hold(self) -> None:
        """Acknowledge no more content: the client may send one window at most."""
        self.held = True

    def release(self) -> None:
        """Acknowledge what has come, and what comes from now on."""
        self.held = False
        if self.unacknowledged:
            size, self.unacknowledged = self.unacknowledged, 0
            self._output.acknowledge(self, size)
