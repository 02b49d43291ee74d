"""HTTP/1.1 towards the client (RFC 9112), sans-IO: bytes in, requests out; responses in, bytes out.

Pipelined requests are answered in order: at most what one call of :meth:`Http1Server.receive` held
is parsed ahead, after which no more input is wanted until the request in front is answered.
"""

from __future__ import annotations

from typing import Callable, Final

import httptools

from ..config.model import Limits
from ..http.messages import BUSY, GONE, HEAD, IDLE, ClientConnection, Headers, OnRequest
from ..http.own_answers import own_answer
from ..http.rules import Refusal, too_large
from .head import request_head
from .reasons import status_line
from .stream import Http1Stream

_DISCARD: Final = 1 << 18
"""Bytes of a request's content still taken after its answer, to save the connection."""

_HIGH_WATER: Final = 1 << 19
"""The upstream is held back once this many bytes of output wait: more than one read, which leaves
before the next one, and less than the megabytes that one turn of the event loop may deliver."""

_ROOM: Final = 1 << 18
_SCANT: Final = 1 << 13
"""Bytes of a response that are read at a time; the latter while much waits in the process."""

_AT_ONCE: Final = 16
"""Requests of a pipeline that are begun in one go: those that are refused are answered at once."""


class Http1Server:
    """The protocol on one connection.

    ``served`` counts the requests that are over. ``held`` is how many bytes of responses wait here
    for the client. ``phase`` is :data:`http.messages.IDLE`, ``HEAD``
    or ``BUSY``. ``due`` is how many bytes of content are still to come in the request that is being
    read, 0 if nobody knows. ``finished`` tells whether the connection is to be closed once the
    output is sent. After a bad request nothing more is read, and the connection closes once the
    earlier requests and this one are answered.

    Implements :class:`stream.Http1Output`.
    """

    __deletable__ = ("_on_request", "_parser")  # for mypyc

    def __init__(self, on_request: OnRequest, connection: ClientConnection, limits: Limits) -> None:
        """Hand requests to *on_request*; ``max_header_bytes`` bounds each head and its trailers."""
        self._on_request = on_request
        self._connection = connection
        self._max_head = limits.max_header_bytes
        self._out: list[bytes] = []
        self.held = 0
        self._parser = httptools.HttpRequestParser(self)
        self._streams: list[Http1Stream] = []  # few; an empty deque takes 600 bytes
        self._target = b""
        self._fields: Headers = []
        self._trailer_bytes = 0
        self._chunked = False
        self._content: list[bytes] = []  # of this call of receive(), not yet handed on
        self._read_bytes = 0
        self.due = 0
        self._head_bytes = 0  # of the reads that the head came in: not less than its size
        self._in_head = False
        self._silent = 0
        self._progress = False
        self._held = False
        self._output_paused = False
        self._refusal: Refusal | None = None
        self.finished = False
        self._advancing = False
        self._switched = False
        self._rest = b""  # what came after a request to switch protocols, not yet answered
        self.draining = False
        self.served = 0

    # -- input -------------------------------------------------------------------------------

    @property
    def wants_input(self) -> bool:
        """Whether :meth:`receive` may be called now."""
        if self._held or self.finished:
            return False
        return not self._streams or (len(self._streams) == 1 and not self._undecided)

    @property
    def _undecided(self) -> bool:
        """Whether the meaning of the client's bytes depends on an answer to come."""
        return bool(self._streams and self._streams[-1].head.upgrade and not self._switched)

    @property
    def phase(self) -> str:
        """See the class."""
        if self._streams:
            return BUSY
        return HEAD if self._in_head else IDLE

    @property
    def requests(self) -> int:
        """Requests in flight."""
        return len(self._streams)

    @property
    def room(self) -> int:
        """See :class:`http.messages.ClientStream`."""
        return _SCANT if self._connection.scarce else _ROOM

    def receive(self, data: bytes | memoryview) -> None:
        """Parse *data*; starts requests and hands their content on."""
        while data and not (self.finished or self._refusal is not None):
            if self._switched:
                self._pass_on(bytes(data))
                return
            if self._streams:
                if self._undecided:
                    self._rest += data
                    return
                if self._last_request_seen():
                    return
            data = self._parse(data)

    def _parse(self, data: bytes | memoryview) -> bytes | memoryview:
        """Parse *data*; return the bytes that follow a request to switch protocols."""
        self._progress = False
        self._read_bytes = len(data)
        self._head_bytes += self._read_bytes
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as stop:
            self._parser = httptools.HttpRequestParser(self)
            return data[stop.args[0] :]
        except httptools.HttpParserError as error:
            self._hand_on()
            if not self._last_request_seen():
                cause = error.__context__
                self._refuse(
                    cause if isinstance(cause, Refusal) else Refusal(400, f"Bad request: {error}")
                )
            return b""
        if self._content:
            self._hand_on()
        # The parser keeps an incomplete field silently: bound the input that had no effect.
        self._silent = 0 if self._progress else self._silent + len(data)
        if self._silent > self._max_head:
            self._refuse(too_large())
        return b""

    def _pass_on(self, data: bytes) -> None:
        """Hand *data* on after the protocol was switched."""
        if self._streams and (handler := self._streams[0].handler) is not None:
            handler.request_body(data)

    def _last_request_seen(self) -> bool:
        """Whether the client has announced that it sends nothing more (RFC 9112 §9.6)."""
        if not self._streams:
            return False
        return self._streams[-1].complete and not self._streams[-1].keep_alive

    def on_message_begin(self) -> None:
        """Parser callback: a request begins."""
        self._target = b""
        self._fields = []
        self._trailer_bytes = 0
        self._in_head = True
        self._head_bytes = self._read_bytes

    def on_url(self, part: bytes) -> None:
        """Parser callback: a part of the request target."""
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """Parser callback: a field of the head or a trailer."""
        value = value.strip(b" \t")  # the parser leaves the blanks after it in place
        if self._in_head:
            self._fields.append((name, value))
            return
        if self.finished:
            return
        self._trailer_bytes += len(name) + len(value) + 4
        if self._trailer_bytes > self._max_head:
            raise too_large()
        self._streams[-1].trailers.append((name, value))

    def on_headers_complete(self) -> None:
        """Parser callback: the head is complete. Raises :class:`Refusal`."""
        self._progress = True
        parser = self._parser
        fields, self._fields = self._fields, []
        if self.finished:
            return
        if self._head_bytes > self._max_head:
            size = sum(len(name) + len(value) + 4 for name, value in fields) + len(self._target)
            if size > self._max_head:
                raise too_large()
        version = parser.get_http_version()
        upgrade = parser.should_upgrade()
        head = request_head(parser.get_method(), self._target, fields, version, upgrade)
        self._in_head = False
        self._chunked = head.length is None
        self.due = head.length or 0
        # No keep-alive for HTTP/1.0: no client that speaks it is expected here.
        stream = Http1Stream(self, head, version != "1.0" and parser.should_keep_alive())
        self._streams.append(stream)
        if len(self._streams) == 1:
            self._start(stream)

    def on_body(self, data: bytes) -> None:
        """Parser callback: content."""
        self._progress = True
        if self.finished:
            return
        if self._chunked:
            self._content.append(data)
            return
        self.due -= len(data)
        stream = self._streams[-1]
        if stream.handler is not None:  # that is one piece of each read
            stream.handler.request_body(data)
        else:
            self._take(data)

    def _hand_on(self) -> None:
        """Hand on the content of one read in one go, however small its chunks."""
        content, self._content = self._content, []
        if content and not self.finished:
            self._take(content[0] if len(content) == 1 else b"".join(content))

    def _take(self, data: bytes) -> None:
        stream = self._streams[-1]
        if stream.handler is not None:
            stream.handler.request_body(data)
        elif stream.answered:
            stream.discarded += len(data)
            if stream.discarded > _DISCARD:
                self._end()
        else:
            stream.early.append(data)

    def on_message_complete(self) -> None:
        """Parser callback: the request is complete."""
        self._progress = True
        if self._content:
            self._hand_on()
        if self.finished:
            return
        stream = self._streams[-1]
        stream.complete = True
        if stream.trailers and not self._parser.should_keep_alive():
            # A trailer may be a Connection field: the parser, for one, takes nothing after it.
            stream.keep_alive = False
        if stream.handler is not None:
            stream.handler.request_end(stream.trailers)
        elif stream.answered:
            self.advance()

    def _start(self, stream: Http1Stream) -> None:
        handler = self._on_request(stream.head, stream)
        if stream.answered:
            return
        stream.handler = handler
        if self._output_paused or self.held > _HIGH_WATER:
            self._pace()
        early, stream.early = stream.early, []
        for data in early:
            handler.request_body(data)
        if stream.complete and not stream.answered:
            handler.request_end(stream.trailers)

    # -- output ------------------------------------------------------------------------------

    def output(self) -> list[bytes]:
        """Fetch what must be sent now."""
        if self._streams and self._streams[0].answered and self._streams[0].complete:
            self.advance()
        out, self._out = self._out, []
        if self.held > _HIGH_WATER:
            self.held = 0
            self._pace()
        self.held = 0
        return out

    def write(self, *parts: bytes) -> None:
        """Add to the output."""
        self._out += parts
        for part in parts:
            self.held += len(part)
        if self.held > _HIGH_WATER:
            self._pace()
        self._connection.wake()

    def write_head(self, status: int, fields: Headers) -> None:
        """Write a response head."""
        lines = [status_line(status), *map(b": ".join, fields), b"\r\n"]
        self.write(b"\r\n".join(lines))

    def advance(self) -> None:
        """Go on to the next request if the one in front is answered and complete."""
        if self._advancing:
            return  # the next one was answered at once: the loop further up goes on
        self._advancing = True
        try:
            self._advance()
        finally:
            self._advancing = False
        if self._rest and not self._undecided:
            self._take_rest(self.receive)

    def switch(self) -> None:
        """Switch the protocol: from now on, no byte in either direction is HTTP."""
        self._switched = True
        self._take_rest(self._pass_on)
        self._connection.wake()

    def _take_rest(self, take: Callable[[bytes], None]) -> None:
        rest, self._rest = self._rest, b""
        if rest:
            take(rest)

    def _advance(self) -> None:
        begun = 0
        while self._streams and self._streams[0].answered and not self.finished:
            stream = self._streams[0]
            if not stream.keep_alive:
                self._end()
                return
            if not stream.complete or begun == _AT_ONCE:
                break  # in the latter case, output() comes back to it
            del self._streams[0]
            self.served += 1
            if self._streams:
                begun += 1
                self._start(self._streams[0])
        if not self._streams:
            if self._refusal is not None:
                self._answer_refusal(self._refusal)
            elif self.draining:
                self._end()
        self._connection.wake()

    def set_held(self, held: bool) -> None:
        """Whether the request in front takes no more content for now."""
        if held != self._held:
            self._held = held
            if not held:
                self._connection.wake()

    def _refuse(self, refusal: Refusal) -> None:
        if self.finished:
            return
        self._in_head = False
        self._refusal = refusal
        if not self._streams:
            self._answer_refusal(refusal)
            return
        stream = self._streams[-1]
        if not stream.complete:
            # The rest of this request is unintelligible, so its handler can never be served.
            handler, stream.handler = stream.handler, None
            if stream.head_sent:
                self.cut()
            elif len(self._streams) == 1:
                self._streams.pop()
                if stream.answered:
                    self._end()
                else:
                    self._answer_refusal(refusal)
            else:
                self._streams.pop()
            if handler is not None:
                handler.client_gone()

    def _answer_refusal(self, refusal: Refusal) -> None:
        head, content = own_answer(refusal.status, str(refusal), refusal.error)
        framing = [(b"Content-Length", b"%d" % len(content)), (b"Connection", b"close")]
        self.write_head(head.status, head.headers + framing)
        self.write(content)
        self._end()

    # -- life cycle --------------------------------------------------------------------------

    def _end(self) -> None:
        self.finished = True
        self._streams.clear()
        self._connection.wake()

    def cut(self) -> None:
        """Give the connection up at once."""
        if not self.finished:
            self.client_gone()
            self._connection.abort()

    def drain(self) -> None:
        """Finish the requests in flight, then close."""
        self.draining = True
        if not self._streams and not self.finished:
            self._end()

    def head_overdue(self) -> None:
        """The client did not complete a request's head in time."""
        self._refuse(Refusal(408, "Request header not received in time"))

    def input_ends(self) -> None:
        """The client sends nothing more, but may read: complete requests are answered."""
        if not self._streams or self._switched or not self._streams[0].complete:
            self.client_gone()
            return
        if not self._streams[-1].complete:
            self._streams.pop()
        self._in_head = False
        self._streams[-1].keep_alive = False

    def client_gone(self) -> None:
        """The connection is lost."""
        self.finished = True
        streams = list(self._streams)
        self._streams.clear()
        for stream in streams:
            handler, stream.handler = stream.handler, None
            if handler is not None:
                handler.client_gone()
        self._connection.wake()

    def free(self) -> None:
        """Drop all references, so that everything is freed at once: this is not used any more."""
        self.client_gone()
        self._connection = GONE
        del self._on_request, self._parser

    def pause_output(self) -> None:
        """The connection takes no more for now."""
        self._output_paused = True
        self._pace()

    def resume_output(self) -> None:
        """Undo :meth:`pause_output`."""
        self._output_paused = False
        self._pace()

    def _pace(self) -> None:
        """Hold the upstream back while there is enough to send."""
        if self._streams and (handler := self._streams[0].handler) is not None:
            paused = self._output_paused or self.held > _HIGH_WATER
            if paused != self._streams[0].paused:
                self._streams[0].paused = paused
                if paused:
                    handler.pause()
                else:
                    handler.resume()

    def tick(self, now: float) -> None:
        """Let the request in front check its time limits."""
        if self._streams and (handler := self._streams[0].handler) is not None:
            handler.tick(now)
