"""HTTP/2 towards the client (RFC 9113), sans-IO: bytes in, requests out; responses in, bytes out.

Framing, header compression and the state machines are those of the ``h2`` library. Ours is the
flow control: content of a request is acknowledged only when the upstream takes it, and content of a
response waits per stream for the client's window, the upstream being held back meanwhile.
"""

from __future__ import annotations

from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError

from .http2_head import request_head
from .http2_stream import Http2Stream
from .http2_wire import Http2Wire
from .http_rules import Refusal, too_large
from .messages import BUSY, IDLE, Channel, Headers, OnRequest
from .settings import Limits

_HIGH_WATER = 1 << 16
"""Bytes of a response waiting for the client's window from which on the upstream is held back."""
_DISCARD = 1 << 18
"""Bytes of a request's content still taken after its answer."""
_MAX_RESETS = 500
"""How many more streams a client may cancel than it lets finish (CVE-2023-44487)."""


class Http2Server:
    """The protocol on one connection. ``phase`` and ``served`` as in :class:`http1.Http1Server`."""

    def __init__(
        self, on_request: OnRequest, channel: Channel, limits: Limits, stall_timeout: float
    ) -> None:
        """Hand requests to *on_request*.

        *stall_timeout* is for how many seconds the rest of a response may wait for the client.
        """
        self._on_request = on_request
        self._channel = channel
        self._limits = limits
        self._stall_timeout = stall_timeout
        self._wire = Http2Wire(limits)
        self._streams: dict[int, Http2Stream] = {}
        self._output_paused = False
        self._unfinished: dict[int, int] = {}  # answered streams: bytes that may still come
        self._resets = 0
        self._ended = False
        self.draining = False
        self.served = 0
        channel.wake()

    # -- input -------------------------------------------------------------------------------

    @property
    def wants_input(self) -> bool:
        """Whether :meth:`receive` may be called now.

        Not while the client leaves our output lying: answers to its frames would pile up.
        """
        return not (self._ended or self._output_paused)

    @property
    def phase(self) -> str:
        """:data:`messages.BUSY` or :data:`messages.IDLE`."""
        return BUSY if self._streams else IDLE

    @property
    def requests(self) -> int:
        """Requests in flight."""
        return len(self._streams)

    def receive(self, data: bytes) -> None:
        """Parse *data*; starts requests and hands their content on."""
        try:
            events = self._wire.receive(data)
        except ProtocolError:
            # The library has put the GOAWAY with the reason into the output.
            self.client_gone()
            return
        for event in events:
            if self._ended:
                return
            self._handle(event)
        self._channel.wake()

    def _handle(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            self._request(event)
            return
        if isinstance(event, ConnectionTerminated):
            self.client_gone()  # the library lets no stream finish after the peer's GOAWAY
            return
        if isinstance(event, RemoteSettingsChanged):
            return  # a wider window is noticed when the output is fetched
        number = getattr(event, "stream_id", None)
        stream = self._streams.get(number) if number else None
        if stream is None:
            self._handle_late(event)
            return
        if isinstance(event, DataReceived):
            self._content(stream, event)
        elif isinstance(event, StreamEnded):
            stream.complete = True
            if stream.handler is not None:
                stream.handler.request_end(stream.trailers)
        elif isinstance(event, TrailersReceived):
            stream.trailers = [(bytes(name), bytes(value)) for name, value in event.headers]
        elif isinstance(event, StreamReset):
            self._cancelled(stream)

    def _handle_late(self, event: Event) -> None:
        """Let a client that was answered early finish its request, within reason.

        A reset would be correct (RFC 9113 §8.1), but widespread clients then lose the answer.
        """
        if isinstance(event, DataReceived):
            number, size = event.stream_id, event.flow_controlled_length
            self._wire.acknowledge(number, size)
            if number in self._unfinished:
                self._unfinished[number] -= size
                if self._unfinished[number] < 0:
                    del self._unfinished[number]
                    self._wire.reset(number, ErrorCodes.NO_ERROR)
        elif isinstance(event, (StreamEnded, StreamReset)):
            self._unfinished.pop(event.stream_id, None)

    def _request(self, event: RequestReceived) -> None:
        number = event.stream_id
        if self.draining or len(self._streams) >= self._limits.max_streams:
            # Tells the client that nothing was done, so that it may try again (RFC 9113 §8.7).
            self._wire.reset(number, ErrorCodes.REFUSED_STREAM)
            return
        try:
            head = request_head(event.headers, event.stream_ended is not None)
        except Refusal as refusal:
            self._wire.refuse(number, refusal)
            return
        size = sum(len(name) + len(value) + 32 for name, value in event.headers)
        if size > self._limits.max_header_bytes:
            self._wire.refuse(number, too_large())
            return
        stream = self._streams[number] = Http2Stream(self, number, head)
        handler = self._on_request(head, stream)
        if stream.ending is None:
            stream.handler = handler
            self._pace(stream)

    def _content(self, stream: Http2Stream, event: DataReceived) -> None:
        size = event.flow_controlled_length
        if stream.handler is None:
            self.acknowledge(stream, size)
            return
        if event.data:
            stream.handler.request_body(event.data)
        if stream.held:
            stream.unacknowledged += size
        else:
            self.acknowledge(stream, size)

    def _cancelled(self, stream: Http2Stream) -> None:
        handler = stream.handler
        self._forget(stream)
        if handler is not None:
            handler.client_gone()
        self._resets += 1
        if self._resets > _MAX_RESETS:
            self._wire.goaway(ErrorCodes.ENHANCE_YOUR_CALM)
            self.client_gone()

    # -- output ------------------------------------------------------------------------------

    def output(self) -> list[bytes]:
        """Fetch what must be sent now."""
        if not self._output_paused:
            self._wire.responses.send(self._sent)
        data = self._wire.output()
        return [data] if data else []

    def send_fields(self, number: int, fields: Headers) -> None:
        """Send a head on the stream *number*."""
        self._wire.send_fields(number, fields)
        self._channel.wake()

    def has_pending(self, stream: Http2Stream) -> None:
        """*stream* has something to send."""
        self._wire.responses.add(stream)
        self._pace(stream)
        self._channel.wake()

    def _sent(self, stream: Http2Stream, over: bool) -> None:
        if over:
            self._over(stream)
        else:
            self._pace(stream)

    def _over(self, stream: Http2Stream) -> None:
        if not stream.complete:
            if len(self._unfinished) < self._limits.max_streams:
                self._unfinished[stream.number] = _DISCARD
            else:
                self._wire.reset(stream.number, ErrorCodes.NO_ERROR)
        self._resets = max(0, self._resets - 1)
        self._forget(stream)
        self._end_if_drained()

    def _forget(self, stream: Http2Stream) -> None:
        self._streams.pop(stream.number, None)
        stream.gone = True
        stream.handler = None
        stream.pending.clear()
        if stream.unacknowledged:
            self.acknowledge(stream, stream.unacknowledged)
            stream.unacknowledged = 0
        self.served += 1

    def reset(self, stream: Http2Stream, code: ErrorCodes) -> None:
        """Give *stream* up."""
        if stream.number in self._streams:
            self._wire.reset(stream.number, code)
            self._forget(stream)
            self._end_if_drained()
            self._channel.wake()

    def acknowledge(self, stream: Http2Stream, size: int) -> None:
        """Open the windows again by *size* bytes of *stream*'s content."""
        if not self._ended:
            self._wire.acknowledge(stream.number, size)
            self._channel.wake()

    def _pace(self, stream: Http2Stream) -> None:
        paused = self._output_paused or stream.pending_bytes > _HIGH_WATER
        if paused != stream.paused and stream.handler is not None:
            stream.paused = paused
            if paused:
                stream.handler.pause()
            else:
                stream.handler.resume()

    # -- life cycle --------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """Whether the connection is to be closed once the output is sent."""
        return self._ended

    def _end_if_drained(self) -> None:
        if self.draining and not self._streams:
            self._ended = True
            self._channel.wake()

    def drain(self) -> None:
        """Finish what is in flight, then close."""
        if not self.draining and not self._ended:
            self.draining = True
            self._wire.goaway(ErrorCodes.NO_ERROR)
            self._channel.wake()
            self._end_if_drained()

    def head_overdue(self) -> None:
        """Never: an incomplete head is idleness here."""

    def client_gone(self) -> None:
        """The connection is lost."""
        self._ended = True
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            stream.gone = True
            if stream.handler is not None:
                stream.handler.client_gone()
        self._channel.wake()

    def pause_output(self) -> None:
        """The connection takes no more for now."""
        self._output_paused = True
        for stream in list(self._streams.values()):
            self._pace(stream)

    def resume_output(self) -> None:
        """Undo :meth:`pause_output`."""
        self._output_paused = False
        for stream in list(self._streams.values()):
            self._pace(stream)
        self._channel.wake()

    def tick(self, now: float) -> None:
        """Let the requests check their time limits, and check those of answered ones."""
        for stream in list(self._streams.values()):
            if stream.handler is not None:
                stream.handler.tick(now)
            elif stream.still(now) >= self._stall_timeout:
                self.reset(stream, ErrorCodes.CANCEL)
