"""HTTP/2 towards the client (RFC 9113), sans-IO: bytes in, requests out; responses in, bytes out.

Content of a request is acknowledged only when the upstream takes it, and content of a response
waits per stream for the client's window, the upstream being held back meanwhile.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from ..config.model import Limits
from ..http.messages import (
    BUSY,
    GONE,
    IDLE,
    ClientConnection,
    Headers,
    OnRequest,
    RequestHead,
)
from ..http.own_answers import own_answer
from ..http.rules import Refusal, too_large
from .frames import (
    ACK,
    PING,
    SETTINGS,
    ConnectionFault,
    ErrorCode,
    StreamFault,
    frame,
    goaway,
    rst_stream,
    window_update,
)
from .head import Field, request_head, request_trailers
from .input import Http2Input
from .numbers import CANCELLED, ENDED, RESET, StreamNumbers
from .patience import Patience
from .queue import ResponseQueue
from .settings import INITIAL_WINDOW_SIZE, announced
from .stream import Http2Stream
from .windows import ReceiveWindow

_HIGH_WATER: Final = 1 << 16
"""The upstream is held back once this many bytes of a response wait for the client's window."""
_BUDGET: Final = 1 << 20
"""Once more bytes than this wait for the client, of all responses on a connection, an upstream is
held back as soon as any of its response waits: so a stream that the client does take goes on."""
_ROOM: Final = 1 << 16
_SCANT: Final = 1 << 13
"""Bytes of a response that are read at a time, before and after that. The latter also while much
waits in the whole process."""
_WITHOUT_CONTENT: Final = frozenset((b"GET", b"HEAD"))
"""Requests with these methods are begun only when it is clear whether content comes. An empty frame
at the end is no content; forwarded as content, it makes a request that servers may refuse."""
_SETTINGS_SECONDS: Final = 10.0
"""Seconds that a client has to acknowledge our settings (§6.5.3)."""
_CONNECTION_WINDOW: Final = 1 << 23
"""Bytes of content of all requests together that may be on the way to upstreams: those of 32 whose
upstreams take nothing, so that the others are not held up with them."""
_DEFAULT_WINDOW: Final = 65535
_FEW: Final = 1 << 14
"""Bytes of requests' fields that a connection may have in flight, or of an unfinished section,
without their being counted: those of a dozen ordinary requests."""


class Http2Server:
    """The protocol on one connection.

    ``finished``, ``phase`` and ``served`` as in :class:`http1.server.Http1Server`.

    Implements :class:`input.InputUser` and :class:`stream.Http2Output`.
    """

    __deletable__ = ("_input", "_on_request", "_responses")  # for mypyc

    def __init__(
        self,
        on_request: OnRequest,
        connection: ClientConnection,
        limits: Limits,
        stall_timeout: float,
    ) -> None:
        """Hand requests to *on_request*.

        The rest of a response may wait *stall_timeout* seconds for the client.
        """
        self._on_request = on_request
        self._connection = connection
        self._limits = limits
        self._stall_timeout = stall_timeout
        self._input = Http2Input(self, limits.max_header_bytes)
        self._out: list[bytes | memoryview] = [
            announced(limits),
            window_update(0, _CONNECTION_WINDOW - _DEFAULT_WINDOW),
        ]
        self._responses = ResponseQueue(self._out, self._progress)
        self._intake = ReceiveWindow(_CONNECTION_WINDOW)
        self._streams: dict[int, Http2Stream] = {}
        self._unfinished: dict[int, Http2Stream] = {}  # answered, though the request goes on
        self._numbers = StreamNumbers()
        self._field_bytes = 0  # of requests in flight
        self._failures = Patience("streams that come to nothing", 500, 10)
        self._goaway = b""
        self._output_paused = False
        self._interims: list[Http2Stream] = []
        self._undecided: list[Http2Stream] = []  # arrived since the last tick ...
        self._overdue: list[Http2Stream] = []  # ... and before it
        self._settings_known = False
        self._settings_due = 0.0
        self.finished = False
        self.draining = False
        self.served = 0
        connection.wake()

    # -- input -------------------------------------------------------------------------------

    @property
    def wants_input(self) -> bool:
        """Whether :meth:`receive` may be called now.

        Not while the client leaves our output unread: answers to its frames would pile up.
        """
        return not (self.finished or self._output_paused)

    @property
    def phase(self) -> str:
        """:data:`http.messages.BUSY` or :data:`http.messages.IDLE`."""
        return BUSY if self._streams else IDLE

    @property
    def requests(self) -> int:
        """Requests in flight."""
        return len(self._streams)

    @property
    def held(self) -> int:
        """Bytes that wait here: responses for the client, fields of requests for their end."""
        fields = self._request_fields
        return self._responses.buffered + (fields if fields > _FEW else 0)

    @property
    def _request_fields(self) -> int:
        return self._field_bytes + self._input.unfinished

    def receive(self, data: bytes) -> None:
        """Parse *data*; starts requests and hands their content on."""
        try:
            self._input.receive(data)
        except ConnectionFault as fault:
            self._fail(fault)
        if self._out or self._request_fields > _FEW:  # which the connection has to note
            self._connection.wake()

    def _fail(self, fault: ConnectionFault) -> None:
        self._goaway = goaway(self._numbers.highest, fault.code, str(fault))
        self.client_gone()

    def fields_came(self, number: int, fields: list[Field], size: int, ended: bool) -> None:
        """See :class:`input.InputUser`."""
        if self.finished:
            return
        if number > self._numbers.highest:
            self._numbers.highest = number
            self._open(number, fields, size, ended)
            return
        stream = self._streams.get(number) or self._unfinished.get(number)
        if stream is None or stream.complete:
            self._late(number, stream)
            return
        trailers = request_trailers(fields)
        self._decide(stream, None)
        if not ended:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR)  # §8.1
        if size > self._limits.max_header_bytes:
            raise StreamFault(ErrorCode.ENHANCE_YOUR_CALM)
        stream.received(0, ended=True)
        if stream.handler is not None:
            self._keep_fields(stream, size)
        self._complete(stream, trailers)

    def _open(self, number: int, fields: list[Field], size: int, ended: bool) -> None:
        if self.draining or len(self._streams) >= self._limits.max_streams:
            # Tells the client that nothing was done, so that it may try again (RFC 9113 §8.7).
            self._reset(number, ErrorCode.REFUSED_STREAM)
            # Count it even before the client has to know the limit: otherwise it could open
            # hundreds at once until then.
            if not self.draining:
                self._failures.spend()
            return
        try:
            if size > self._limits.max_header_bytes:
                raise too_large()
            head = request_head(fields, ended)
        except Refusal as refusal:
            head_only = any(field.pair == (b":method", b"HEAD") for field in fields)
            stream = self._begin(Http2Stream(self, number, None, ended, head_only))
            self._answer(stream, refusal)
            return
        head_only = head.method == b"HEAD"
        stream = self._begin(Http2Stream(self, number, head.length, ended, head_only))
        self._keep_fields(stream, size)
        if head.length is None and head.method in _WITHOUT_CONTENT:
            stream.undecided = head
            self._undecided.append(stream)
        else:
            self._start(stream, head)

    def _decide(self, stream: Http2Stream, length: int | None) -> None:
        """Begin a request, now that it is clear whether it has content."""
        head, stream.undecided = stream.undecided, None
        if head is not None and not stream.gone:
            self._start(stream, replace(head, length=length))

    def _begin(self, stream: Http2Stream) -> Http2Stream:
        self._streams[stream.number] = stream
        self._responses.open(stream)
        return stream

    def _keep_fields(self, stream: Http2Stream, size: int) -> None:
        stream.request_field_bytes += size
        self._field_bytes += size

    def _start(self, stream: Http2Stream, head: RequestHead) -> None:
        handler = self._on_request(head, stream)
        if stream.ending is not None or stream.gone:
            return
        stream.handler = handler
        self._pace(stream)
        if stream.complete:
            handler.request_end([])

    def _answer(self, stream: Http2Stream, refusal: Refusal) -> None:
        head, content = own_answer(refusal.status, str(refusal), refusal.error)
        stream.send_head(head)
        stream.send_body(content)
        stream.send_end([])

    def content_came(self, number: int, data: bytes, size: int, ended: bool) -> None:
        """See :class:`input.InputUser`."""
        if self.finished:
            return
        self._numbers.check_begun(number)
        if not self._intake.take(size):
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "more content than allowed")
        stream = self._streams.get(number) or self._unfinished.get(number)
        if stream is None or stream.complete:
            self._announce(0, self._intake.give(size))
            self._late(number, stream)
            return
        stream.unacknowledged += size
        if not stream.intake.take(size):
            raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR)
        if stream.undecided is not None and (data or ended):
            self._decide(stream, None if data else 0)
        stream.received(len(data), ended)
        if stream.handler is None:
            self._discard(stream, size)
        else:
            if data:
                stream.handler.request_body(data)
            if not stream.held:
                stream.release()
        if ended:
            self._complete(stream, [])

    def _discard(self, stream: Http2Stream, size: int) -> None:
        """Let a client that was answered early finish its request, within reason.

        A reset would be correct (RFC 9113 §8.1), but widespread clients then lose the answer.
        """
        stream.discardable -= size
        if stream.discardable >= 0:
            stream.release()
        elif stream.number in self._unfinished:
            self._reset(stream.number, ErrorCode.NO_ERROR)
            self._write_off(stream)

    def _write_off(self, stream: Http2Stream) -> None:
        """Give the connection's window back what has come on *stream*, which is over."""
        size, stream.unacknowledged = stream.unacknowledged, 0
        self._announce(0, self._intake.give(size))

    def _complete(self, stream: Http2Stream, trailers: Headers) -> None:
        if stream.handler is not None:
            stream.handler.request_end(trailers)
        elif self._unfinished.pop(stream.number, None):
            self._numbers.over(stream.number, ENDED)

    def _late(self, number: int, stream: Http2Stream | None) -> None:
        if stream is not None:
            raise StreamFault(ErrorCode.STREAM_CLOSED)  # the request was complete (§5.1)
        self._numbers.check_late(number)

    def reset_came(self, number: int) -> None:
        """See :class:`input.InputUser`."""
        self._numbers.check_begun(number)
        if self.finished:
            return
        stream = self._streams.get(number)
        if stream is not None:
            answered = stream.answered and stream.head is None
            self._give_up(stream, CANCELLED)
            if not answered:
                self._failures.spend()
        elif self._unfinished.pop(number, None):
            self._numbers.over(number, CANCELLED)

    def stream_failed(self, number: int, code: ErrorCode) -> None:
        """See :class:`input.InputUser`."""
        stream = self._streams.get(number)
        if stream is not None:
            self._give_up(stream, RESET)
        self._reset(number, code)
        self._failures.spend()

    def window_came(self, number: int, increment: int) -> None:
        """See :class:`input.InputUser`."""
        if not number:
            self._responses.widen(increment)
        else:
            self._numbers.check_begun(number)
            stream = self._streams.get(number)
            if stream is not None:
                self._responses.widen_stream(stream, increment)
        if self._responses.waiting:
            self._connection.wake()

    def settings_came(self, values: dict[int, int]) -> None:
        """See :class:`input.InputUser`."""
        window = values.get(INITIAL_WINDOW_SIZE)
        if window is not None:
            self._responses.set_initial(window, self._streams.values())
        self._out.append(frame(SETTINGS, ACK, 0))

    def settings_acknowledged(self) -> None:
        """See :class:`input.InputUser`."""
        self._settings_known = True

    def ping_came(self, payload: bytes) -> None:
        """See :class:`input.InputUser`."""
        self._out.append(frame(PING, ACK, 0, payload))

    def goaway_came(self, code: int) -> None:
        """See :class:`input.InputUser`."""
        if code == ErrorCode.NO_ERROR:
            self.drain()
        else:
            self.client_gone()

    # -- output ------------------------------------------------------------------------------

    def output(self) -> list[bytes]:
        """Fetch what must be sent now."""
        if not self._output_paused:
            self._responses.send(self._sent)
        # GOAWAY comes last: widespread clients let no stream go on after it.
        data = b"".join((*self._out, self._goaway))
        self._out.clear()
        self._goaway = b""
        if self._interims:
            self._interims_left()
        return [data] if data else []

    @property
    def room(self) -> int:
        """See :class:`http.messages.ClientStream`."""
        return _SCANT if self._is_short else _ROOM

    @property
    def _is_short(self) -> bool:
        return self._responses.buffered > _BUDGET or self._connection.scarce

    def send_interim(self, stream: Http2Stream, status: int, fields: Headers) -> None:
        """Send an interim response on *stream*."""
        if not stream.gone:
            size = self._responses.send_fields(stream.number, status, fields, 0)
            if not stream.interim_bytes:
                self._interims.append(stream)
            stream.interim_bytes += size
            self._responses.buffered += size
            self._pace(stream)
            self._connection.wake()

    def _interims_left(self) -> None:
        streams, self._interims = self._interims, []
        for stream in streams:
            self._responses.buffered -= stream.interim_bytes
            stream.interim_bytes = 0
            if not stream.gone:
                self._pace(stream)

    def send_content(self, stream: Http2Stream, data: bytes) -> None:
        """Send *data* on *stream*, as the windows allow."""
        if not stream.gone:
            self._responses.keep(stream, data)
            self.has_pending(stream)

    def has_pending(self, stream: Http2Stream) -> None:
        """*stream* has something to send."""
        if not stream.gone:
            if self._output_paused and stream.head and not stream.field_bytes:
                self._responses.keep_fields(stream, stream.head[1])
            if stream.ending:
                self._responses.keep_fields(stream, stream.ending)
            self._responses.add(stream)
            self._pace(stream)
            self._connection.wake()

    def _progress(self, frames: int) -> None:
        # A client may answer each with two window updates: the stream's and the connection's.
        self._input.patience.earn(3 * frames)

    def _sent(self, stream: Http2Stream, over: bool) -> None:
        if over:
            self._over(stream)
        else:
            self._pace(stream)

    def _over(self, stream: Http2Stream) -> None:
        number = stream.number
        self._forget(stream)
        if stream.complete:
            self._numbers.over(number, ENDED)
            self._write_off(stream)
        elif len(self._unfinished) < self._limits.max_streams:
            self._unfinished[number] = stream
            stream.release()
        else:
            self._reset(number, ErrorCode.NO_ERROR)
            self._write_off(stream)
        self._failures.earn(1)
        self._end_if_drained()

    def _forget(self, stream: Http2Stream) -> None:
        del self._streams[stream.number]
        stream.gone = True
        stream.handler = None
        self._responses.drop(stream)
        self._field_bytes -= stream.request_field_bytes
        self.served += 1

    def _give_up(self, stream: Http2Stream, how: str) -> None:
        """End the stream before its response."""
        handler = stream.handler
        self._forget(stream)
        self._numbers.over(stream.number, how)
        self._write_off(stream)
        if handler is not None:
            handler.client_gone()
        self._end_if_drained()

    def _reset(self, number: int, code: ErrorCode) -> None:
        self._unfinished.pop(number, None)
        self._numbers.over(number, RESET)
        self._out.append(rst_stream(number, code))

    def reset(self, stream: Http2Stream, code: ErrorCode) -> None:
        """Give *stream* up; the part of its response that the client takes now still goes out."""
        if not stream.gone and not self._output_paused:
            self._responses.send(self._sent)
        if not stream.gone:
            self._give_up(stream, RESET)
            self._reset(stream.number, code)
            self._connection.wake()

    def acknowledge(self, stream: Http2Stream, size: int) -> None:
        """Open the windows again by *size* bytes of *stream*'s content."""
        if not self.finished:
            self._announce(0, self._intake.give(size))
            if not stream.complete:
                self._announce(stream.number, stream.intake.give(size))

    def _announce(self, number: int, increment: int) -> None:
        if increment:
            self._out.append(window_update(number, increment))
            self._connection.wake()

    def _pace(self, stream: Http2Stream) -> None:
        most = 0 if self._is_short else _HIGH_WATER
        paused = self._output_paused or stream.pending_bytes + stream.interim_bytes > most
        if paused != stream.paused and stream.handler is not None:
            stream.paused = paused
            if paused:
                stream.handler.pause()
            else:
                stream.handler.resume()

    # -- life cycle --------------------------------------------------------------------------

    def _end_if_drained(self) -> None:
        if self.draining and not self._streams:
            self.finished = True
            self._connection.wake()

    def drain(self) -> None:
        """Finish the requests in flight, then close."""
        if not self.draining and not self.finished:
            self.draining = True
            self._goaway = goaway(self._numbers.highest, ErrorCode.NO_ERROR)
            self._connection.wake()
            self._end_if_drained()

    def head_overdue(self) -> None:
        """Never: an incomplete head is idleness here."""

    def input_ends(self) -> None:
        """The client sends nothing more, but may read: complete requests are answered."""
        self._settings_known = True  # or will never be
        self.draining = True
        for stream in list(self._streams.values()):
            if not stream.complete and (stream.handler is not None or stream.undecided):
                self.reset(stream, ErrorCode.CANCEL)
        self._end_if_drained()

    def client_gone(self) -> None:
        """The connection is lost."""
        self.finished = True
        streams, self._streams = self._streams, {}
        self._unfinished.clear()
        self._interims.clear()
        self._undecided.clear()
        self._overdue.clear()
        self._responses.clear()
        self._field_bytes = 0
        for stream in streams.values():
            stream.gone = True
            stream.pending.clear()
            handler, stream.handler = stream.handler, None
            if handler is not None:
                handler.client_gone()
        self._connection.wake()

    def free(self) -> None:
        """Drop all references, so that everything is freed at once: this is not used any more."""
        self.client_gone()
        self._connection = GONE
        del self._on_request, self._input, self._responses

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
        self._connection.wake()

    def tick(self, now: float) -> None:
        """Let the requests check their time limits, and check those of answered ones."""
        self._input.patience.tick(now)
        self._failures.tick(now)
        if not self._settings_known and not self.finished:
            self._settings_due = self._settings_due or now + _SETTINGS_SECONDS
            if now >= self._settings_due:
                self._fail(
                    ConnectionFault(ErrorCode.SETTINGS_TIMEOUT, "settings not acknowledged in time")
                )
        # Requests that the last tick did not begin, either, wait no longer for their end.
        overdue, self._overdue, self._undecided = self._overdue, self._undecided, []
        for stream in overdue:
            self._decide(stream, None)
        for stream in list(self._streams.values()):
            if stream.handler is not None:
                stream.handler.tick(now)
            elif stream.still(now) >= self._stall_timeout:
                self.reset(stream, ErrorCode.CANCEL)
