"""Connections to upstreams in use and in reserve."""

from __future__ import annotations

import asyncio
import select
import time
from collections import deque
from typing import Protocol, cast

from .dial import Dialer
from .http1_client import ResponseError, ResponseHandler, ResponseReader
from .messages import Headers
from .settings import Upstream
from .turn import Turn

_MAX_IDLE = 64
"""Connections kept in reserve per upstream."""

_HIGH_WATER = 1 << 18
"""Bytes waiting to be sent to an upstream from which on the client is held back."""


_LINGER = 5.0
"""Seconds for an upstream to take what was written before the connection was closed."""


class UpstreamUser(ResponseHandler, Protocol):
    """The exchange that a connection is serving."""

    def upstream_failed(self, error: Exception, untouched: bool) -> None:
        """The connection ended before the response; *untouched* if not one byte of it had come."""

    def pause_upload(self) -> None:
        """The upstream does not take the request fast enough."""

    def resume_upload(self) -> None:
        """Undo :meth:`pause_upload`."""


class UpstreamConnection(asyncio.Protocol):
    """One connection to an upstream: idle in the pool, or serving one exchange."""

    def __init__(self, pool: UpstreamPool, reserve: deque[UpstreamConnection]) -> None:
        """Belong to *pool*, and be in its *reserve* while idle."""
        self.reserve = reserve
        self.opened = False
        self.used = False
        self.expires = 0.0
        self._pool = pool
        self._user: UpstreamUser | None = None
        self._reader = ResponseReader()
        self._untouched = True
        self._reading = True
        self._finished = False
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0
        self.transport: asyncio.Transport

    # -- asyncio callbacks -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See :class:`asyncio.Protocol`."""
        self.opened = True
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=_HIGH_WATER)
        self._arrivals = select.poll()
        self._arrivals.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        """See :class:`asyncio.Protocol`."""
        if self._user is None:
            self.discard()
            return
        self._untouched = False
        try:
            self._reader.receive(data)
        except ResponseError as error:
            self._fail(error)
            return
        if self._finished:
            # Not before: what follows a response in the same read would answer the next request.
            self._finished = False
            self.resume_reading()
            self._pool.put(self, self._reader.keep_alive_seconds)

    def eof_received(self) -> bool:
        """See :class:`asyncio.Protocol`."""
        if self._user is not None:
            try:
                self._reader.eof()
            except ResponseError as error:
                self._fail(error)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """See :class:`asyncio.Protocol`."""
        self._pool.forget(self)
        if self._user is not None:
            self._fail(exc or ResponseError("closed before the response was complete"))

    def pause_writing(self) -> None:
        """See :class:`asyncio.Protocol`."""
        if self._user is not None:
            self._user.pause_upload()

    def resume_writing(self) -> None:
        """See :class:`asyncio.Protocol`."""
        if self._user is not None:
            self._user.resume_upload()

    def _fail(self, error: Exception) -> None:
        user, self._user = self._user, None
        self.discard()
        if user is not None:
            user.upstream_failed(error, self._untouched)

    # -- use ---------------------------------------------------------------------------------

    def begin(self, user: UpstreamUser, head: bytes, method: bytes, upgrade: bytes = b"") -> None:
        """Send the request *head*; the response to *method* goes to *user*.

        *upgrade* as in :meth:`http1_client.ResponseReader.begin`.
        """
        self._user = user
        self._untouched = True
        self._reader.begin(user, method, upgrade)
        if self.transport.is_closing():
            # Closed between being opened and being used: nobody will call connection_lost again.
            error = ResponseError("closed before the request was sent")
            asyncio.get_running_loop().call_soon(self._fail, error)
            return
        self.write(head)

    def write(self, *data: bytes) -> None:
        """Send a part of the request, with all of this turn in one go, within reason.

        One turn may read megabytes from the same client before it ends, and only what the transport
        has got makes it say that it is enough.
        """
        if not self._unsent:
            self._pool.turn.add(self._send)
        self._unsent += data
        for part in data:
            self._unsent_bytes += len(part)
        if self._unsent_bytes > _HIGH_WATER:
            self._send()

    def _send(self) -> None:
        if self._unsent and not self.transport.is_closing():
            self.transport.write(b"".join(self._unsent))
        self._unsent.clear()
        self._unsent_bytes = 0

    def write_chunk(self, data: bytes) -> None:
        """Send a part of the request in chunked coding (RFC 9112 §7.1)."""
        self.write(b"%x\r\n" % len(data), data, b"\r\n")

    def write_last_chunk(self, trailers: Headers) -> None:
        """End a request in chunked coding."""
        lines = [b"0\r\n"]
        for name, value in trailers:
            lines += (name, b": ", value, b"\r\n")
        lines.append(b"\r\n")
        self.write(*lines)

    def pause_reading(self) -> None:
        """Take no more of the response for now."""
        if self._reading and not self.transport.is_closing():
            self._reading = False
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Undo :meth:`pause_reading`."""
        if not self._reading and not self.transport.is_closing():
            self._reading = True
            self.transport.resume_reading()

    def finish(self, request_complete: bool) -> None:
        """The exchange is over, which :meth:`data_received` has brought about.

        The connection goes back into the pool after that if it can serve another exchange.
        """
        self._user = None
        if (
            request_complete
            and self._reader.reusable
            and not self.transport.is_closing()
            # Only a peer that reads lets the next request through.
            and not self._unsent
            and self.transport.get_write_buffer_size() == 0
        ):
            self._finished = True
        else:
            self.discard()

    def close(self) -> None:
        """Close after what was written has left; the user is not told."""
        self._user = None
        if not self.transport.is_closing():
            self._send()
            self.transport.close()
            asyncio.get_running_loop().call_later(_LINGER, self.transport.abort)

    def discard(self) -> None:
        """Close, whatever is going on; the user is not told."""
        self._user = None
        self.transport.abort()

    def is_alive(self) -> bool:
        """Whether nothing has arrived since the last response: not even the upstream's FIN.

        The event loop may not have seen it yet, so the kernel is asked. A request is thus not
        written to a connection that is already known, on this machine, to be closed.
        """
        if self.transport.is_closing():
            return False
        return not self._arrivals.poll(0)


class UpstreamPool:
    """Idle connections by upstream, last in first out, and the way to new ones."""

    def __init__(self, dialer: Dialer, idle_timeout: float, turn: Turn) -> None:
        """Keep idle connections for *idle_timeout* seconds at most; send at the end of a *turn*."""
        self._dialer = dialer
        self._idle_timeout = idle_timeout
        self._idle: dict[Upstream, deque[UpstreamConnection]] = {}
        self._closed = False
        self.turn = turn

    def take(self, upstream: Upstream) -> UpstreamConnection | None:
        """An idle connection that is still open, or ``None``."""
        idle = self._idle.get(upstream)
        while idle:
            connection = idle.pop()
            # To the moment, and not to the tick: the upstream's own limit may be just behind.
            if connection.expires > time.monotonic() and connection.is_alive():
                return connection
            connection.discard()
        return None

    async def dial(self, upstream: Upstream) -> UpstreamConnection:
        """A new connection. Raises :class:`dial.DialError`."""
        made: list[UpstreamConnection] = []
        idle = self._idle.setdefault(upstream, deque())

        def factory() -> UpstreamConnection:
            made.append(UpstreamConnection(self, idle))
            return made[-1]

        try:
            return await self._dialer.connect(upstream, factory)
        except asyncio.CancelledError:
            # The connection may have been made in the very turn in which it was given up.
            for connection in made:
                if connection.opened:
                    connection.discard()
            raise

    def put(self, connection: UpstreamConnection, keep_alive_seconds: int | None) -> None:
        """Take *connection* back; *keep_alive_seconds* is how long the upstream said it waits."""
        seconds = self._idle_timeout
        if keep_alive_seconds is not None:
            # Well before the upstream closes, for a request on its way at that moment is lost.
            seconds = min(seconds, keep_alive_seconds - 1)
        idle = connection.reserve
        if self._closed or seconds <= 0 or len(idle) >= _MAX_IDLE:
            connection.discard()
            return
        connection.used = True
        connection.expires = time.monotonic() + seconds
        idle.append(connection)

    def forget(self, connection: UpstreamConnection) -> None:
        """*connection* is closed."""
        if connection in connection.reserve:
            connection.reserve.remove(connection)

    def tick(self, now: float) -> None:
        """Close what has been idle too long; *now* is the loop's time in seconds."""
        for idle in self._idle.values():
            for connection in [item for item in idle if item.expires <= now]:
                idle.remove(connection)
                connection.discard()

    def close(self) -> None:
        """Close every idle connection and keep none from now on."""
        self._closed = True
        for idle in self._idle.values():
            while idle:
                idle.pop().discard()
