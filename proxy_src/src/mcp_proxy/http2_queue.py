"""Responses on their way to an HTTP/2 client, as its flow-control windows allow (RFC 9113 §5.2)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from h2.connection import H2Connection

from .http2_stream import Http2Stream


class ResponseQueue:
    """The streams of one connection that have something to send."""

    def __init__(self, h2: H2Connection) -> None:
        self._h2 = h2
        self._waiting: deque[Http2Stream] = deque()

    def add(self, stream: Http2Stream) -> None:
        """*stream* has content or an end to send."""
        if not stream.queued:
            stream.queued = True
            self._waiting.append(stream)

    def send(self, sent: Callable[[Http2Stream, bool], None]) -> None:
        """Send what the windows allow, one frame per stream in turn.

        *sent* is told after each frame which stream it was of, and whether that was its last.
        """
        waiting = self._waiting
        stuck: list[Http2Stream] = []
        while waiting:
            stream = waiting.popleft()
            stream.queued = False
            if stream.gone:
                continue
            if stream.pending:
                window = self._h2.local_flow_control_window(stream.number)
                if window <= 0:
                    stuck.append(stream)
                    continue
                over = self._send_content(stream, min(window, self._h2.max_outbound_frame_size))
            elif stream.ending is not None:
                self._send_end(stream, stream.ending)
                over = True
            else:
                continue
            if not over:
                self.add(stream)
            sent(stream, over)
        for stream in stuck:
            self.add(stream)

    def _send_content(self, stream: Http2Stream, room: int) -> bool:
        parts = []
        size = 0
        while stream.pending and size < room:
            part = stream.pending.popleft()
            if len(part) > room - size:
                view = memoryview(part)
                stream.pending.appendleft(view[room - size :])
                part = view[: room - size]
            parts.append(part)
            size += len(part)
        stream.pending_bytes -= size
        last = not stream.pending and stream.ending == []
        self._h2.send_data(stream.number, b"".join(parts), end_stream=last)
        return last

    def _send_end(self, stream: Http2Stream, trailers: list[tuple[bytes, bytes]]) -> None:
        if trailers:
            fields = [(name.lower(), value) for name, value in trailers]
            self._h2.send_headers(stream.number, fields, end_stream=True)
        else:
            self._h2.end_stream(stream.number)
