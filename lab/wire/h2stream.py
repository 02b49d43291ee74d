"""One stream of an HTTP/2 connection, with back-pressure: see h2link."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

import h2.errors
import h2.exceptions

if TYPE_CHECKING:
    from .h2link import Link

Headers = Sequence[tuple[str, str]]


class LinkClosed(ConnectionError):
    """The connection under the streams is gone."""


class StreamReset(ConnectionError):
    """The peer reset this stream; `code` is the HTTP/2 error code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"HTTP/2 stream reset by peer, error code {code}")
        self.code = code


class Stream:
    """One HTTP/2 stream. `headers` are the peer's: of the request or of the response."""

    def __init__(self, link: Link, stream_id: int) -> None:
        self._link = link
        self.id = stream_id
        self.headers: dict[str, str] = {}
        self._received: deque[tuple[bytes, int]] = deque()
        self._ended = False  # the peer's half
        self._finished = False  # our half
        self._error: ConnectionError | None = None
        self._changed = asyncio.Event()

    async def response(self) -> dict[str, str]:
        """Wait for the peer's headers. Raises StreamReset or LinkClosed."""
        while not self.headers:
            await self._wait()
        return self.headers

    async def read(self) -> bytes:
        """Return the next piece of the peer's body, b"" at its end. Raises as `response`."""
        while not self._received:
            if self._ended:
                return b""
            await self._wait()
        data, credit = self._received.popleft()
        self._link.acknowledge(credit, self.id)
        return data

    async def send_headers(self, headers: Headers, end: bool = False) -> None:
        """Send response headers (server role)."""
        self._check()
        self._link.h2.send_headers(self.id, list(headers), end_stream=end)
        if end:
            self._finish()
        await self._link.flush()

    async def write(self, data: bytes) -> None:
        """Send `data`, waiting for window and socket. Raises StreamReset or LinkClosed."""
        view = memoryview(data)
        while view:
            self._check()
            try:
                window = self._link.h2.local_flow_control_window(self.id)
                size = min(window, self._link.h2.max_outbound_frame_size, len(view))
                if size > 0:
                    self._link.h2.send_data(self.id, bytes(view[:size]))
            except h2.exceptions.ProtocolError as error:
                raise LinkClosed(f"stream {self.id} cannot be written: {error}") from error
            if size > 0:
                view = view[size:]
                await self._link.flush()
            else:
                await self._link.window_opened(self._check)

    async def end(self) -> None:
        """End our body; harmless when the stream is already over."""
        try:
            self._link.h2.end_stream(self.id)
        except h2.exceptions.ProtocolError:
            return
        self._finish()
        await self._link.flush()

    def reset(self, code: int = h2.errors.ErrorCodes.CANCEL) -> None:
        """Abandon the stream in both directions; harmless when it is already over."""
        self._drop()
        try:
            self._link.h2.reset_stream(self.id, code)
        except h2.exceptions.ProtocolError:
            return
        finally:
            self._link.forget(self.id)
        self._link.flush_soon()

    @property
    def error(self) -> ConnectionError | None:
        """Why the stream ended before its time, if it did."""
        return self._error

    # Called by Link.

    def feed(self, data: bytes, credit: int) -> None:
        self._received.append((data, credit))
        self._changed.set()

    def feed_headers(self, headers: dict[str, str]) -> None:
        self.headers = headers
        self._changed.set()

    def feed_end(self) -> None:
        self._ended = True
        if self._finished:
            self._link.forget(self.id)
        self._changed.set()

    def fail(self, error: ConnectionError) -> None:
        if self._error is None:
            self._error = error
            if not self._ended:  # a complete body stays readable
                self._drop()
            self._changed.set()

    def _finish(self) -> None:
        self._finished = True
        if self._ended:
            self._link.forget(self.id)

    def _drop(self) -> None:
        # Data that nobody will read still counts against the connection's window.
        while self._received:
            self._link.acknowledge(self._received.popleft()[1], self.id)

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    async def _wait(self) -> None:
        self._check()
        self._changed.clear()
        await self._changed.wait()
