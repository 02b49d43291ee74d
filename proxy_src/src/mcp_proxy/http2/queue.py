"""Responses on their way to an HTTP/2 client, as its flow-control windows allow (RFC 9113 §5.2)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sized
from typing import Callable, Final, cast

from ..http.messages import Headers
from .frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    MAX_PAYLOAD,
    MAX_WINDOW,
    ConnectionFault,
    ErrorCode,
    StreamFault,
    frame,
    frame_header,
)
from .hpack import EMPTY_TABLE, encode
from .stream import Http2Stream

_INITIAL: Final = 65535
_TINY: Final = 256
"""Bytes of content that are worth a frame; fewer, because of a small window, are no progress."""
_SMALL: Final = 1 << 9
_JOINED: Final = 1 << 14
"""Bytes: content smaller than that joins what waits before it, up to that size. Each piece costs
some fifty bytes of its own, which nobody counts."""


class ResponseQueue:
    """The streams of one connection that have something to send, and how much they may.

    ``buffered`` is how many bytes of all responses together wait.
    """

    def __init__(self, out: list[bytes | memoryview], earned: Callable[[int], None]) -> None:
        """Frames go to *out*; *earned* gets the number of frames of content worth sending."""
        self._out = out
        self._earned = earned
        self._waiting: deque[Http2Stream] = deque()
        self._window = _INITIAL
        self._initial = _INITIAL
        self._preamble = EMPTY_TABLE
        self.buffered = 0

    @property
    def waiting(self) -> bool:
        """Whether there is something to send, now or once a window is wider."""
        return bool(self._waiting)

    def clear(self) -> None:
        """Nothing is sent any more."""
        self._waiting.clear()
        self.buffered = 0

    # -- windows -----------------------------------------------------------------------------

    def open(self, stream: Http2Stream) -> None:
        """*stream* is new."""
        stream.window = self._initial

    def widen(self, increment: int) -> None:
        """The client takes *increment* bytes more. Raises :class:`ConnectionFault`."""
        self._window += increment
        if self._window > MAX_WINDOW:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "window too large")

    def widen_stream(self, stream: Http2Stream, increment: int) -> None:
        """The same for one stream. Raises :class:`StreamFault`."""
        stream.window += increment
        if stream.window > MAX_WINDOW:
            raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR)

    def set_initial(self, size: int, streams: Iterable[Http2Stream]) -> None:
        """Windows begin with *size* from now on (§6.9.2). Raises :class:`ConnectionFault`."""
        change = size - self._initial
        self._initial = size
        for stream in streams:
            stream.window += change
            if stream.window > MAX_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "window too large")

    # -- content -----------------------------------------------------------------------------

    def keep(self, stream: Http2Stream, data: bytes) -> None:
        """Keep *data*, content of *stream*, until it can be sent."""
        size = len(data)
        pending = stream.pending
        if size < _SMALL and pending and len(pending[-1]) < _JOINED:
            pending[-1] = b"".join((pending[-1], data))
        else:
            pending.append(data)
        stream.pending_bytes += size
        self.buffered += size

    def keep_fields(self, stream: Http2Stream, fields: Headers) -> None:
        """Count the *fields* of a head, or trailers, that cannot be sent now."""
        size = sum(len(name) + len(value) for name, value in fields)
        stream.field_bytes += size
        self.buffered += size

    def drop(self, stream: Http2Stream) -> None:
        """Nothing of *stream* is sent any more."""
        if stream.pending:
            self.buffered -= stream.pending_bytes
            stream.pending_bytes = 0
            stream.pending.clear()
        self._forget_fields(stream)

    def _forget_fields(self, stream: Http2Stream) -> None:
        if stream.field_bytes:
            self.buffered -= stream.field_bytes
            stream.field_bytes = 0

    # -- frames ------------------------------------------------------------------------------

    def add(self, stream: Http2Stream) -> None:
        """*stream* has a head, content or an end to send."""
        if not stream.queued:
            stream.queued = True
            self._waiting.append(stream)

    def send(self, sent: Callable[[Http2Stream, bool], None]) -> None:
        """Send what the windows allow, one frame of content per stream in turn.

        *sent* is called after each frame with its stream, and whether that was its last one.
        """
        waiting = self._waiting
        stuck: list[Http2Stream] = []
        while waiting:
            stream = waiting.popleft()
            stream.queued = False
            if stream.gone:
                continue
            over = self._send_head(stream) if stream.head else False
            if stream.pending:
                window = min(self._window, stream.window)
                if window <= 0:
                    stuck.append(stream)
                    continue
                over = self._send_content(stream, window)
            elif stream.ending is not None and not over:
                self._send_end(stream.number, stream.ending)
                over = True
            if not over and (stream.pending or stream.ending is not None):
                self.add(stream)
            sent(stream, over)
        for stream in stuck:
            self.add(stream)

    def _send_head(self, stream: Http2Stream) -> bool:
        status, fields = stream.head or (0, [])
        stream.head = None
        if stream.field_bytes and not stream.ending:
            self._forget_fields(stream)
        over = not stream.pending and stream.ending == []
        self.send_fields(stream.number, status, fields, END_STREAM if over else 0)
        return over

    def send_fields(self, number: int, status: int | None, fields: Headers, flags: int) -> int:
        """Send a field section (§4.3), in as many frames as it needs; returns its size."""
        block = self._preamble + encode(status, fields)
        size = len(block)
        self._preamble = b""
        kind = HEADERS
        while len(block) > MAX_PAYLOAD:
            self._out.append(frame(kind, flags, number, block[:MAX_PAYLOAD]))
            block = block[MAX_PAYLOAD:]
            kind, flags = CONTINUATION, 0
        self._out.append(frame(kind, flags | END_HEADERS, number, block))
        return size

    def _send_content(self, stream: Http2Stream, window: int) -> bool:
        room = min(window, MAX_PAYLOAD)
        pending = stream.pending
        parts: list[bytes | memoryview] = []
        size = 0
        while pending and size < room:
            part = pending.popleft()
            if len(part) > room - size:
                view = memoryview(part)
                pending.appendleft(_rest(view, room - size))
                part = view[: room - size]
            parts.append(part)
            size += len(part)
        stream.pending_bytes -= size
        self.buffered -= size
        stream.window -= size
        self._window -= size
        last = not pending and stream.ending == []
        self._out.append(frame_header(DATA, END_STREAM if last else 0, stream.number, size))
        self._out += parts
        if size >= _TINY or not pending:
            self._earned(1)
        return last

    def _send_end(self, number: int, trailers: Headers) -> None:
        if trailers:
            self.send_fields(number, None, trailers, END_STREAM)
        else:
            self._out.append(frame(DATA, END_STREAM, number))


def _rest(view: memoryview, start: int) -> bytes | memoryview:
    """Return what follows *start*; a copy if little is left, as a view keeps the whole alive."""
    rest = view[start:]
    return bytes(rest) if 2 * len(rest) < len(cast(Sized, rest.obj)) else rest
