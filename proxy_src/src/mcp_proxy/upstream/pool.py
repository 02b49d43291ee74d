"""Connections to upstreams in use and in reserve."""

from __future__ import annotations

import asyncio
import math
import select
import time
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, cast

from ..config.model import Upstream
from ..http.messages import Headers
from ..http1.client import ResponseError, ResponseHandler, ResponseReader, incomplete
from ..system import keepalive
from ..system.rota import QUICK, Account, Portion
from ..system.transports import CLOSED, send_at_once
from ..system.turn import Turn
from .dial import Dialer
from .tls import UpstreamTls

_MAX_IDLE: Final = 64
"""Connections kept in reserve per upstream."""

_HIGH_WATER: Final = 1 << 18
"""The client is held back once this many bytes wait to be sent to an upstream."""

_JOINED: Final = 1 << 14
"""Bytes of a request that are joined before they are sent."""

_PIECES: Final = 512
"""Pieces of a request that are sent as they are."""

_READ: Final = 1 << 18
_BUSY_READ: Final = 1 << 16
"""Bytes read from an upstream at a time, at most; the latter while others wait for their turn."""

_HEAD_READ: Final = 1 << 13
"""The same before the answer's final head, which costs more work than any content. So few are
welcome even when a client has no room."""

_SENDING: Final = 1e-9
"""Seconds of work that each byte read causes later, in the client's TLS and the system's socket."""

_SHORT: Final = 1 << 10
"""A read of fewer bytes has most probably taken all that there was."""

_LINGER: Final = 5.0
"""Seconds for an upstream to take what was written before the connection was closed."""


class UpstreamUser(ResponseHandler, Protocol):
    """The exchange that a connection is serving. ``room`` is how many bytes to read at a time."""

    @property
    def room(self) -> int:
        """How many bytes of the response are welcome at a time."""

    def upstream_failed(self, error: Exception, untouched: bool) -> None:
        """The connection ended before the response; *untouched* if not one byte of it had come."""

    def pause_upload(self) -> None:
        """The upstream does not take the request fast enough."""

    def resume_upload(self) -> None:
        """Undo :meth:`pause_upload`."""


@dataclass(eq=False)
class Reserve:
    """What the connections to one upstream have in common: those that are idle, and an account.

    They are idle for ``idle_timeout`` seconds at most. All of them share one account: more of them
    get no more time. Once ``closed``, none is kept.
    """

    upstream: Upstream
    idle_timeout: float
    idle: deque[UpstreamConnection] = field(default_factory=deque)
    account: Account = field(default_factory=Account)
    closed: bool = False

    def close(self) -> None:
        """Close what is idle, and keep nothing from now on."""
        self.closed = True
        while self.idle:
            self.idle.pop().discard()

    def bring_forward(self, address: str) -> bool:
        """Make a connection to *address* the next one to be used; return whether there is one."""
        for connection in reversed(self.idle):
            if connection.address == address:
                self.idle.remove(connection)
                self.idle.append(connection)
                return True
        return False


class UpstreamConnection(asyncio.BufferedProtocol):
    """One connection to an upstream: idle in the pool, or serving one exchange."""

    # Few connections ever change these: as class attributes, a new one need not set them.
    _held = False  # by the user
    _resting = False  # until it is this upstream's turn again
    _deaf = False  # and reads nothing until then
    _late = b""  # read, and not looked at yet
    _over = False  # the upstream has closed, after what is in _late ...
    _lost: Exception | None = None  # ... for this reason
    _lingering: asyncio.TimerHandle | None = None
    _unwanted = False  # before it was made

    def __init__(self, pool: UpstreamPool, reserve: Reserve, address: str) -> None:
        """Belong to *pool*, lead to *address*, and be in the *reserve* while idle."""
        self.reserve = reserve
        self.address = address
        self.opened = False
        self.used = False
        self.until = 0.0
        self.expires = 0.0
        self._pool = pool
        self._rota = pool.turn.rota
        self._account = reserve.account
        self._portion = Portion(_READ)
        self._began = 0.0
        self._user: UpstreamUser | None = None
        self._reader = ResponseReader()
        self._untouched = True
        self._reading = True
        self._finished = False
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0
        self.noted = 0  # see system.budget.Holder
        self.transport: asyncio.Transport

    # -- asyncio callbacks -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See :class:`asyncio.Protocol`."""
        self.opened = True
        self.transport = cast(asyncio.Transport, transport)
        if self._unwanted:
            self.discard()
            return
        self.until = time.monotonic() + self._pool.max_age
        self.transport.set_write_buffer_limits(high=_HIGH_WATER)
        self._arrivals = select.poll()
        self._fileno = transport.get_extra_info("socket").fileno()
        self._plain = transport.get_extra_info("ssl_object") is None
        self._arrivals.register(self._fileno, select.POLLIN)

    def get_buffer(self, sizehint: int) -> memoryview:
        """See :class:`asyncio.BufferedProtocol`."""
        # The clock starts here: with TLS, the loop decrypts before it reports the data.
        rota = self._rota
        self._began = rota.clock()
        size = self._portion.size
        if size == _HEAD_READ or (size > _HEAD_READ and self._reader.in_head):
            return self._pool.head_buffer
        if size > _HEAD_READ:
            if rota.busy and size > _BUSY_READ:
                size = _BUSY_READ
            if self._user is not None and (room := self._user.room) < size:
                size = room
        return self._pool.buffer[:size]

    def buffer_updated(self, nbytes: int) -> None:
        """See :class:`asyncio.BufferedProtocol`."""
        if self._user is None:
            self.discard()
            return
        self._untouched = False
        began = self._began
        rota = self._rota
        if self._resting or (rota.busy and not rota.serves(self._account, began)):
            # After a short read, nothing more may come for a while: a pause is not worth its cost.
            self._deaf = self._resting or nbytes >= _SHORT
            self._late += self._pool.buffer[:nbytes]
            self._rest()
        else:
            self._take(self._pool.buffer[:nbytes], began)

    def _take(self, data: bytes | memoryview, began: float) -> None:
        """Look at *data*, and let content leave if the head has gone on before it."""
        if self._reader.in_head:
            self._look_at(data, began)
            return
        turn = self._pool.turn
        turn.read_begins()
        try:
            self._look_at(data, began)
        finally:
            turn.read_ends()

    def _look_at(self, data: bytes | memoryview, began: float) -> None:
        """Look at *data*, which makes one portion's work at most."""
        try:
            self._reader.receive(data)
        except ResponseError as error:
            self._fail(error)
        else:
            if self._finished:
                # Not before: bytes that follow a response in the same read would answer the
                # next request.
                self._finished = False
                if self._held:
                    self.resume_reading()
                self._pool.put(self, self._reader.keep_alive_seconds)
        rota = self._rota
        now = rota.clock()
        size = len(data)
        if now - began > QUICK or size >= self._portion.size:
            self._portion.took(size, now - began)
        rota.charge(self._account, began, now + size * _SENDING)

    def _rest(self) -> None:
        """Leave the upstream unread until it is its turn."""
        if not self._resting:
            self._resting = True
            self._rota.put_off(self._account, self._go_on)
        self._pace()

    def _go_on(self) -> None:
        self._resting = self._deaf = False
        if self._held and self._late:
            self._note()
            return  # resume_reading() puts it off again
        if self._late and self._user is not None:
            data, self._late = self._late, b""
            self._take(data, self._rota.clock())
        if self._over and not self._late:
            self._end(self._lost)
            self.discard()
        self._pace()

    def eof_received(self) -> bool:
        """See :class:`asyncio.BaseProtocol`."""
        if self._late:
            self._over = True
            return True
        self._end(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """See :class:`asyncio.BaseProtocol`."""
        self._pool.forget(self)
        self.transport = CLOSED
        self._note()
        if self._lingering is not None:
            self._lingering.cancel()
        lost = exc or incomplete()
        if not self._late:
            self._end(lost)
        elif not self._over:
            self._over = True
            self._lost = lost
            if not self._held:
                self._rest()

    def _end(self, lost: Exception | None) -> None:
        """The upstream has closed its side, or its connection is *lost*."""
        if self._user is None:
            return
        if lost is not None:
            self._fail(lost)
            return
        try:
            self._reader.eof()
        except ResponseError as error:
            self._fail(error)

    def pause_writing(self) -> None:
        """See :class:`asyncio.Protocol`."""
        if self._user is not None:
            self._user.pause_upload()

    def resume_writing(self) -> None:
        """See :class:`asyncio.Protocol`."""
        if self._user is not None:
            self._user.resume_upload()

    def check(self, gone_after: float) -> None:
        """Give up an upstream whose machine has acknowledged nothing for *gone_after* seconds."""
        if self.transport.is_closing():
            return
        sock = self.transport.get_extra_info("socket")
        if sock is None:  # lost, with an answer that waits for the client
            return
        seconds = keepalive.silence(sock)
        if seconds >= gone_after:
            self._pool.lost(self)
            text = f"its machine has acknowledged nothing for {seconds:.0f} s"
            self._fail(ResponseError(text, "connection_read_timeout"))

    def _fail(self, error: Exception) -> None:
        user, self._user = self._user, None
        self.discard()
        if user is not None:
            user.upstream_failed(error, self._untouched)

    # -- use ---------------------------------------------------------------------------------

    def begin(self, user: UpstreamUser, head: bytes, method: bytes, upgrade: bytes = b"") -> None:
        """Send the request *head*; the response to *method* goes to *user*.

        *upgrade* as in :meth:`http1.client.ResponseReader.begin`.
        """
        self._user = user
        self._untouched = True
        self._reader.begin(user, method, upgrade)
        if self.transport.is_closing():
            # Closed between being opened and being used: nobody will call connection_lost again.
            error = ResponseError("closed before the request was sent", "connection_terminated")
            asyncio.get_running_loop().call_soon(self._fail, error)
            return
        self.write(head)

    def write(self, *data: bytes) -> None:
        """Send a part of the request, in one go with the rest of this turn, within reason.

        One turn may read megabytes from the same client before it ends, and the transport asks for
        a pause only because of bytes that it has got.
        """
        if not self._unsent:
            self._pool.turn.add(self._send)
        self._unsent += data
        for part in data:
            self._unsent_bytes += len(part)
        if self._unsent_bytes > _HIGH_WATER:
            self._send()

    def _send(self) -> None:
        rest: Sequence[bytes] = ()
        if self._unsent and not self.transport.is_closing():
            # A few bytes are joined sooner than sent in pieces, and of these the system takes 1024.
            joins = self._unsent_bytes <= _JOINED or len(self._unsent) > _PIECES
            data = [b"".join(self._unsent)] if joins else self._unsent
            at_once = self._plain and not self.transport.get_write_buffer_size()
            rest = send_at_once(self._fileno, data) if at_once else data
            if rest:
                self.transport.writelines(rest)
        self._unsent = []
        self._unsent_bytes = 0
        if rest or self._late or self.noted:  # most requests leave at once
            self._note()

    @property
    def held(self) -> int:
        """See :class:`system.budget.Holder`."""
        transport = self.transport
        unread = transport.unread if isinstance(transport, UpstreamTls) else 0
        unsent = transport.get_write_buffer_size() + self._unsent_bytes
        return unsent + unread + len(self._late)

    def _note(self) -> None:
        held = self.held
        if held != self.noted:
            self._pool.turn.budget.note(self, held)

    def give_way(self, held: int) -> None:
        """See :class:`system.budget.Holder`."""
        text = f"{held} bytes wait for it or its client, and too much waits in all"
        self._fail(ResponseError(text, "connection_write_timeout"))

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
        self._held = True
        self._pace()
        self._note()

    def resume_reading(self) -> None:
        """Undo :meth:`pause_reading`."""
        self._held = False
        if self._late:
            self._rest()
        self._pace()

    def _pace(self) -> None:
        reading = not (self._held or self._deaf)
        if reading != self._reading and not self.transport.is_closing():
            self._reading = reading
            if reading:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()

    def finish(self, request_complete: bool) -> None:
        """End the exchange; :meth:`data_received` has brought this about.

        After that, the connection goes back into the pool if it can serve another exchange.
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
        """Close once everything written has left, without notice to the user."""
        self._user = None
        self._late = b""
        self._reader.close()
        if not self.transport.is_closing():
            self._send()
            self.transport.close()
            loop = asyncio.get_running_loop()
            self._lingering = loop.call_later(_LINGER, self.discard)

    def discard(self) -> None:
        """Close in any state, without notice to the user."""
        self._user = None
        self._late = b""
        self._reader.close()
        # Not all who close it say so once more (uvloop, when a dial is cancelled at its end).
        transport, self.transport = self.transport, CLOSED
        transport.abort()
        self._note_end()

    def _note_end(self) -> None:
        if self.noted:
            self._pool.turn.budget.note(self, 0)

    def give_up(self) -> None:
        """Nobody wants it any more, whether it has been made or is about to be."""
        self._unwanted = True
        if self.opened:
            self.discard()

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

    def __init__(
        self, dialer: Dialer, idle_timeout: float, turn: Turn, max_age: float = math.inf
    ) -> None:
        """Keep idle connections for *idle_timeout* seconds at most; send at the end of a *turn*.

        None serves another exchange when it is *max_age* seconds old. An upstream may have an idle
        timeout of its own.
        """
        self._dialer = dialer
        self._idle_timeout = idle_timeout
        self._reserves: dict[Upstream, Reserve] = {}
        self._closed = False
        self.max_age = max_age
        self.turn = turn
        self.buffer = memoryview(bytearray(_READ))
        self.head_buffer = self.buffer[:_HEAD_READ]

    def take(self, upstream: Upstream) -> UpstreamConnection | None:
        """Return an idle connection that is still open, or ``None``."""
        reserve = self._reserves.get(upstream)
        if reserve is None:
            return None
        if upstream.spread:
            return self._take_next(reserve)
        idle = reserve.idle
        while idle:
            connection = idle.pop()
            # Exact time, not the tick's: the upstream's own limit may come just after ours.
            if connection.expires > time.monotonic() and connection.is_alive():
                return connection
            connection.discard()
        return None

    def _take_next(self, reserve: Reserve) -> UpstreamConnection | None:
        """Like :meth:`take`, for a connection to the address whose turn it is."""
        # Where all requests find a connection, nothing else would look after the addresses.
        self._dialer.try_again(reserve.upstream)
        addresses = self._dialer.addresses(reserve.upstream)
        address = addresses.next()
        while reserve.idle and (not address or reserve.bring_forward(address)):
            connection = reserve.idle.pop()
            if connection.expires > time.monotonic() and connection.is_alive():
                addresses.used(connection.address)
                return connection
            connection.discard()
        return None

    async def dial(self, upstream: Upstream) -> UpstreamConnection:
        """Open a new connection. Raises :class:`dial.DialError`."""
        made: list[UpstreamConnection] = []
        reserve = self._reserves.get(upstream)
        if reserve is None:
            own = upstream.timeouts
            seconds = self._idle_timeout if own is None else own.upstream_idle
            reserve = self._reserves[upstream] = Reserve(upstream, seconds)

        def factory(address: str) -> UpstreamConnection:
            made.append(UpstreamConnection(self, reserve, address))
            return made[-1]

        try:
            connection = await self._dialer.connect(upstream, factory)
            made.remove(connection)
            return connection
        finally:
            # Some may have been made in the very turn in which they were given up, or will be.
            for other in made:
                other.give_up()

    def put(self, connection: UpstreamConnection, keep_alive_seconds: int | None) -> None:
        """Take *connection* back; *keep_alive_seconds* is how long the upstream said it waits."""
        reserve = connection.reserve
        seconds = reserve.idle_timeout
        if keep_alive_seconds is not None:
            # Well before the upstream closes: a request on its way at that moment would be lost.
            seconds = min(seconds, keep_alive_seconds - 1)
        now = time.monotonic()
        expires = now + seconds
        if expires > connection.until:
            expires = connection.until
        if self._closed or reserve.closed or expires <= now or len(reserve.idle) >= _MAX_IDLE:
            connection.discard()
            return
        connection.used = True
        connection.expires = expires
        reserve.idle.append(connection)

    def forget(self, connection: UpstreamConnection) -> None:
        """Drop *connection*, which is closed."""
        if connection in connection.reserve.idle:
            connection.reserve.idle.remove(connection)

    def lost(self, connection: UpstreamConnection) -> None:
        """The machine of *connection* is gone: use no other connection to it, either."""
        reserve = connection.reserve
        address = connection.address
        for other in [item for item in reserve.idle if item.address == address]:
            reserve.idle.remove(other)
            other.discard()
        self._dialer.set_aside(reserve.upstream, address, "its machine acknowledges nothing")

    def tick(self, now: float) -> None:
        """Close connections that have been idle too long; *now* is the loop's time in seconds."""
        for reserve in self._reserves.values():
            for connection in [item for item in reserve.idle if item.expires <= now]:
                reserve.idle.remove(connection)
                connection.discard()

    def keep(self, upstreams: Collection[Upstream]) -> None:
        """From now on there are only these *upstreams*: close what is idle of all others.

        Raises :class:`tls.contexts.CertificateError`, and then nothing has changed.
        """
        self._dialer.keep(upstreams)
        old, self._reserves = self._reserves, {}
        for upstream in upstreams:
            # With the very objects that routes have now, which are found without a comparison.
            if (reserve := old.pop(upstream, None)) is not None:
                self._reserves[upstream] = reserve
        for reserve in old.values():
            reserve.close()

    def close(self) -> None:
        """Close every idle connection and keep none from now on."""
        self._closed = True
        self._dialer.close()
        for reserve in self._reserves.values():
            reserve.close()
