"""One connection from the connector: joins WebSocket, inner TLS and HTTP on a transport.

Everything that happens in one turn of the event loop leaves in one TLS write and one system call.
With HTTP/1.1, content of a response that goes on leaves sooner, at the end of each read.
"""

from __future__ import annotations

import asyncio
import enum
from builtins import memoryview  # mypyc looks here for the type of a field
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, cast

from websockets.frames import CloseCode

from ..config.model import Limits, Timeouts
from ..http.messages import BUSY, HEAD, IDLE, ClientStream, RequestHead
from ..http1.server import Http1Server
from ..http2.server import Http2Server
from ..system.rota import QUICK, SLICE, Account, Portion
from ..system.transports import CLOSED, send_pieces
from ..system.turn import Turn
from ..tls.contexts import ServerTls
from ..upstream.exchange import Exchange, Forwarder
from ..watch import log
from ..watch.metrics import Metrics
from .inner_tls import RECORD, InnerTls, TlsFailed
from .websocket import WebSocketLayer, WebSocketRefused
from .ws_frames import Buffer

_HIGH_WATER: Final = 1 << 18
"""Upstreams are held back once this many bytes wait to be sent to the connector."""

_SCANT_WATER: Final = 1 << 14
"""The same while much waits in the whole process."""

_UNREAD: Final = 1 << 16
"""Bytes of ciphertext kept while the HTTP layer takes no input, so that a client that leaves is
still noticed; beyond them, nothing more is read."""

_SWAMPED: Final = 1 << 20
"""A peer that only sends (pings, say) is not read once this many bytes wait to be sent to it."""

_TRIFLE: Final = 1 << 12
"""Bytes that may wait without being noted: nearly every answer leaves at once."""

_AT_ONCE: Final = 1 << 16
"""Bytes that are encrypted in one go: OpenSSL's buffer stays as large as it ever was."""

_PLAIN: Final = 1 << 16
"""Bytes of long content that are decrypted at a time, instead of one record."""

_FRAMES: Final = 512
"""WebSocket frames parsed at a time: a read may hold ten thousand of the smallest."""

_CLOSING_SECONDS: Final = 5.0
"""Seconds that the peer may take for its part of the closing handshake."""

_QUIET_SECONDS: Final = 30.0
"""Seconds without output after which a connection with an open request gets a PING: proxies and
balancers on the way close WebSockets that are quiet for a minute or two."""


@dataclass
class CutClients:
    """Clients that were cut since the last line about them, and the bytes that waited."""

    number: int = 0
    held: int = 0

    def add(self, held: int) -> None:
        """One more, for which *held* bytes waited."""
        self.number += 1
        self.held += held

    def tell(self) -> None:
        """Log them, all in one line: many are cut at a time."""
        if self.number:
            text = "client cut: too much waits for it"
            log.event(log.logger, log.WARN, text, clients=self.number, bytes=self.held)
            self.number = self.held = 0


@dataclass
class SharedContext:
    """State that all connections share, as it is now. ``forget`` is called by one that has ended.

    Reads go into ``buffer``, so its size is the most that a connection takes in one go. Content is
    decrypted into ``plain``.
    """

    forwarder: Forwarder
    certificates: ServerTls
    metrics: Metrics
    timeouts: Timeouts
    limits: Limits
    forget: Callable[[TunnelConnection], None]
    buffer: memoryview
    turn: Turn
    cut: CutClients = field(default_factory=CutClients)
    plain: memoryview = field(default_factory=lambda: memoryview(bytearray(_PLAIN)))


class Stage(enum.Enum):
    """The life of a connection. A stage leads to a later one, never back.

    There is an HTTP layer in ``OPEN``, none before it, and perhaps none in ``CLOSING``.
    """

    NEW = "new"
    """Nothing has come: perhaps only a test whether the port is open."""
    HANDSHAKE = "handshake"
    """That of WebSocket, then that of TLS."""
    OPEN = "open"
    CLOSING = "closing"
    """The last bytes leave, and the peer has some time for its part of the closing handshake."""
    LOST = "lost"
    """There is no transport any more."""


# Looked up for every read: slow as members of the class before Python 3.12.
_NEW: Final[Stage] = Stage.NEW
_HANDSHAKE: Final[Stage] = Stage.HANDSHAKE
_OPEN: Final[Stage] = Stage.OPEN
_CLOSING: Final[Stage] = Stage.CLOSING
_LOST: Final[Stage] = Stage.LOST


class TunnelConnection(asyncio.BufferedProtocol):
    """See the module. Implements :class:`http.messages.ClientConnection` for the HTTP layer."""

    def __init__(self, shared: SharedContext, refusal: str = "") -> None:
        """With a *refusal*, only answer the client with it (503)."""
        self._shared = shared
        self._loop = asyncio.get_running_loop()
        self._refusal = refusal
        self._ws = WebSocketLayer(refusal)
        self._tls: InnerTls | None = None
        self._http: Http1Server | Http2Server | None = None
        self._account = Account()
        self._read_portion = Portion()  # of what comes from the network
        self._portion = Portion(RECORD)  # of what the HTTP layer gets
        self._late = b""  # read, and not looked at yet
        self._turn_scheduled = False
        self._many = False  # whether several reads may cause what leaves
        self._pumping = False
        self._reading = True
        self._resting = False  # until it is this connection's turn again
        self._deaf = False  # and reads nothing until then
        self._one_more = False
        self._wrote = False  # since the last tick
        self._known_scarce = False  # to the transport
        # Sizes of writes that have not left, as far as looked. An empty deque takes 600 bytes.
        self._writes: deque[int] | None = None
        self._written = 0  # their sum
        self.noted = 0  # see system.budget.Holder
        self._quiet_since = 0.0
        self._stage = _NEW
        self._progress: tuple[str, int] = ("", 0)  # HTTP's phase, and the requests served
        self._since = self._loop.time()  # begin of the stage, or of the progress while open

    # -- asyncio callbacks -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See :class:`asyncio.BaseProtocol`."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_HIGH_WATER)
        sock = transport.get_extra_info("socket")
        self._fileno = -1 if sock is None else sock.fileno()  # none if it is lost already
        peer = transport.get_extra_info("peername")
        self._peer = peer[0] if peer else ""

    def get_buffer(self, sizehint: int) -> memoryview:
        """See :class:`asyncio.BufferedProtocol`."""
        return self._shared.buffer[: self._read_portion.size]

    def buffer_updated(self, nbytes: int) -> None:
        """See :class:`asyncio.BufferedProtocol`."""
        rota = self._shared.turn.rota
        now = rota.clock()
        data = self._shared.buffer[:nbytes]
        if self._resting or (rota.busy and not rota.serves(self._account, now)):
            # After a short read, nothing more may come for a while: a pause is not worth its cost.
            self._deaf = self._resting or nbytes == self._read_portion.size
            self._late += data
            self._rest()
        else:
            self._work(data, now)

    def _work(self, data: bytes | memoryview, began: float) -> None:
        """Work on *data* from the network, and on data that waits, for about a slice of time."""
        cut_short = self._take(data, began + SLICE)
        rota = self._shared.turn.rota
        now = rota.clock()
        if data and (now - began > QUICK or len(data) >= self._read_portion.size):
            self._read_portion.took(len(data), now - began)
        rota.charge(self._account, began, now)
        if cut_short or self._ws.frames.behind:
            self._deaf = True
            self._rest()

    def _take(self, data: bytes | memoryview, until: float) -> bool:
        """Take *data*; return whether some of it waits for want of time."""
        stage = self._stage
        if stage is _NEW:
            self._stage = stage = _HANDSHAKE
        cut_short = False
        try:
            payload = self._ws.receive(data, _FRAMES)
        except WebSocketRefused as refused:
            self._handshake_failed("websocket", str(refused))
            self._end()
            return False
        if payload and stage is not _CLOSING:
            if self._tls is None:
                self._tls = InnerTls(self._shared.certificates.context)
            for part in payload:
                self._tls.feed(part)
            cut_short = self._pump(until)
        elif self._tls is not None and self._tls.unread:
            cut_short = self._pump(until)
        if self._ws.closing and self._stage is not _CLOSING:
            self._leave()
        tls = self._tls
        # There may be something to send without a wake by the HTTP layer.
        if self._stage is not _OPEN or self._ws.unsent or (tls is not None and tls.urgent):
            self._turn()
        elif tls is not None and tls.unread:
            self._pace()
        return cut_short

    def connection_lost(self, exc: Exception | None) -> None:
        """See :class:`asyncio.BaseProtocol`."""
        self._leave()
        self._stage = _LOST
        self._shared.forget(self)
        # They refer to each other and are large: freed now, not when the garbage collector runs.
        http, self._http, self._tls = self._http, None, None
        if http is not None:
            http.free()
        self._ws.free()
        self._late = b""
        self._transport = CLOSED
        self._shared.turn.budget.note(self, 0)

    def pause_writing(self) -> None:
        """See :class:`asyncio.BaseProtocol`."""
        if self._http is not None:
            self._http.pause_output()

    def resume_writing(self) -> None:
        """See :class:`asyncio.BaseProtocol`."""
        self._pace()
        if self._http is not None:
            self._http.resume_output()

    # -- input -------------------------------------------------------------------------------

    def _pump(self, until: float) -> bool:
        """Decrypt and hand on data while it is wanted; return whether the time did not suffice."""
        tls = self._tls
        if self._pumping or self._stage is _CLOSING or tls is None or tls.ended:
            return False
        self._pumping = True
        clock = self._shared.turn.rota.clock
        try:
            http = self._http or self._shake_hands(tls)
            now = until - SLICE
            while http is not None and http.wants_input and self._stage is not _CLOSING:
                data = self._hand_on(tls, http)
                if data is None:
                    if tls.may_answer:
                        http.input_ends()
                    else:
                        self._leave()
                    break
                if not data or not tls.unread:
                    break
                before, now = now, clock()
                if now - before > QUICK or len(data) >= self._portion.size:
                    self._portion.took(len(data), now - before)
                if now >= until:
                    return True
        except TlsFailed as failure:
            self._tls_failed(str(failure))
        finally:
            self._pumping = False
        return False

    def _hand_on(self, tls: InnerTls, http: Http1Server | Http2Server) -> Buffer | None:
        """Hand on what comes next, and return it, see :meth:`InnerTls.read`."""
        if isinstance(http, Http1Server) and http.due > RECORD:
            # It all goes the same way, in one piece: a portion would only make it dearer.
            content = tls.read_into(self._shared.plain[: http.due])
            if content:
                http.receive(content)
            return content
        data = tls.read(self._portion.size)
        if data:
            http.receive(data)
        return data

    def _rest(self) -> None:
        """Leave the peer unread until it is its turn."""
        if not self._resting:
            self._resting = True
            self._shared.turn.rota.put_off(self._account, self._go_on)
        self._pace()

    def _go_on(self) -> None:
        self._resting = self._deaf = False
        if self._stage is not _LOST:
            late, self._late = self._late, b""
            self._work(late, self._shared.turn.rota.clock())
            self._pace()
            self.wake()

    @property
    def held(self) -> int:
        """See :class:`system.budget.Holder`."""
        unread = 0 if self._tls is None else self._tls.unread
        return self._waiting(self._transport.get_write_buffer_size(), unread)

    def _waiting(self, unsent: int, unread: int) -> int:
        """Bytes that wait, with *unsent* in the transport and *unread* in the TLS layer."""
        writes = self._writes
        # The transport keeps the whole of a write until its last byte has left.
        while writes and self._written - writes[0] >= unsent:
            self._written -= writes.popleft()
        waiting = self._written + unread + len(self._late)
        return waiting if self._http is None else waiting + self._http.held

    def give_way(self, held: int) -> None:
        """See :class:`system.budget.Holder`."""
        self._shared.cut.add(held)
        self.cut()

    def _pace(self) -> None:
        unsent = self._transport.get_write_buffer_size()
        unread = 0 if self._tls is None else self._tls.unread
        reading = (
            not self._deaf and unsent < _SWAMPED and (self._stage is _CLOSING or unread < _UNREAD)
        )
        held = self._waiting(unsent, unread)
        if held > _TRIFLE or self.noted:
            self._shared.turn.budget.note(self, held if held > _TRIFLE else 0)
        if reading != self._reading and not self._transport.is_closing():
            self._reading = reading
            if reading:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def _shake_hands(self, tls: InnerTls) -> Http1Server | Http2Server | None:
        if not tls.handshake():
            return None
        limits = self._shared.limits
        self._shared.metrics.handshake_done(tls.version, tls.alpn, tls.resumed)
        log.event(log.logger, log.DEBUG, "tls handshake done", tls=tls.version, alpn=tls.alpn)
        if tls.alpn == "h2":
            self._http = Http2Server(self._request, self, limits, self._shared.timeouts.idle)
            self._many = True
        else:
            self._http = Http1Server(self._request, self, limits)
        self._stage = _OPEN
        return self._http

    def _request(self, head: RequestHead, stream: ClientStream) -> Exchange:
        if self._one_more:
            self._loop.call_soon(self.drain)
        return self._shared.forwarder.exchange(head, stream, self._peer)

    def _tls_failed(self, reason: str) -> None:
        if self._http is None:
            self._handshake_failed("tls", reason)
        else:
            log.event(log.logger, log.WARN, "tls record refused", reason=reason, peer=self._peer)
            self._leave()
        # The alert explains more than a close_notify would.
        self._end(CloseCode.PROTOCOL_ERROR)

    def _handshake_failed(self, kind: str, reason: str) -> None:
        """Count and log it. The caller ends the connection."""
        if self._stage is _NEW or self._refusal:
            return  # only a test whether the port is open, or the client has the reason already
        self._shared.metrics.handshake_failed(kind)
        message = "websocket handshake failed" if kind == "websocket" else "tls handshake failed"
        log.event(log.logger, log.WARN, message, reason=reason, peer=self._peer)

    # -- output (ClientConnection) -----------------------------------------------------------

    @property
    def scarce(self) -> bool:
        """See :class:`http.messages.ClientConnection`."""
        return self._shared.turn.budget.scarce

    def wake(self) -> None:
        """See :class:`http.messages.ClientConnection`."""
        if not self._turn_scheduled:
            self._turn_scheduled = True
            turn = self._shared.turn
            if self._many:
                turn.add(self._run_turn)
            else:
                turn.soon(self._run_turn)

    def _run_turn(self) -> None:
        self._turn_scheduled = False
        if self._stage is not _LOST:
            if self._tls is not None and self._tls.unread and not self._resting:
                self._resume()
            self._turn()

    def _resume(self) -> None:
        """Take the data that has come before and was not wanted then."""
        rota = self._shared.turn.rota
        now = rota.clock()
        if rota.serves(self._account, now):
            self._work(b"", now)
        else:
            self._rest()

    def _turn(self) -> None:
        """Send the output that has gathered."""
        if self._stage is _LOST:
            return
        tls = self._tls
        if tls is not None:
            self._encrypt(tls)
            http = self._http
            if http is not None and http.finished and self._stage is not _CLOSING:
                tls.close()
                self._end(CloseCode.NORMAL_CLOSURE)
        pieces = self._ws.pieces()
        size = sum(map(len, pieces))
        if size:
            self._wrote = True
            self._send(pieces)
            if self._shared.turn.budget.scarce is not self._known_scarce:
                self._limit_transport()
        if self._ws.closed:
            self._end()
        self._pace()

    def _send(self, pieces: Sequence[bytes]) -> None:
        """Send *pieces*: at once, as far as the system takes them."""
        transport = self._transport
        if transport.is_closing():
            return
        if not transport.get_write_buffer_size():
            pieces = send_pieces(self._fileno, pieces)
        if pieces:
            transport.writelines(pieces)
            if transport.get_write_buffer_size():
                self._note_write(sum(map(len, pieces)))

    def _note_write(self, size: int) -> None:
        """Note a write of *size* bytes, of which some have not left at once."""
        if self._writes is None:
            self._writes = deque()
        self._writes.append(size)
        self._written += size

    def _limit_transport(self) -> None:
        self._known_scarce = self.scarce
        self._transport.set_write_buffer_limits(_SCANT_WATER if self.scarce else _HIGH_WATER)

    def _encrypt(self, tls: InnerTls) -> None:
        plain = self._http.output() if self._http is not None else ()
        if plain:
            try:
                self._write(tls, plain[0] if len(plain) == 1 else b"".join(plain))
            except TlsFailed as failure:
                self._tls_failed(str(failure))
        data = tls.output()
        if data:
            self._ws.send(data)

    def _write(self, tls: InnerTls, plain: bytes) -> None:
        if len(plain) <= _AT_ONCE:
            tls.write(plain)
            return
        view = memoryview(plain)
        for start in range(0, len(plain), _AT_ONCE):
            tls.write(view[start : start + _AT_ONCE])
            self._ws.send(tls.output())

    # -- the end -----------------------------------------------------------------------------

    def abort(self) -> None:
        """See :class:`http.messages.ClientConnection`."""
        # Without close_notify: TLS' own sign of truncation (RFC 8446 §6.1).
        if self._stage is _OPEN:
            self._end(CloseCode.INTERNAL_ERROR)

    def _end(self, code: CloseCode | None = None, *, abort: bool = False) -> None:
        """End the connection: every way to its end comes through here, some more than once.

        With *code*, what is there leaves, then the WebSocket's closing handshake begins. Without
        one there is none, or it is through: the TCP connection closes after the last bytes, or
        at once with *abort*.
        """
        if self._stage is _LOST:
            return
        if self._stage is not _CLOSING:
            self._stage = _CLOSING
            self._since = self._loop.time()
        if abort:
            self._transport.abort()
        elif code is not None:
            if self._tls is not None:
                self._encrypt(self._tls)
            self._ws.close(code)
            self._pace()
            self.wake()
        elif not self._transport.is_closing():
            data = self._ws.output()
            if data:
                self._transport.write(data)
            self._transport.close()

    def _leave(self) -> None:
        """Say that the client is gone: to the HTTP layer, or as a handshake that failed."""
        if self._http is not None:
            self._http.client_gone()
        elif self._stage is not _CLOSING:
            self._handshake_failed("closed", "the client closed the connection")

    def cut(self) -> None:
        """End at once."""
        if self._stage is not _LOST:
            self._leave()
            self._end(abort=True)

    @property
    def requests(self) -> int:
        """Requests in flight."""
        return 0 if self._http is None else self._http.requests

    @property
    def expects_request(self) -> bool:
        """Whether a request is as good as on its way: the first one, or one that has begun."""
        http = self._http
        if self._stage is not _OPEN or http is None:
            return self._stage is _NEW or self._stage is _HANDSHAKE
        return http.phase == HEAD or (http.phase == IDLE and not http.served)

    def drain_after_request(self) -> None:
        """Take one more request, then :meth:`drain`."""
        self._one_more = True

    def drain(self) -> None:
        """Finish the requests in flight, then close."""
        if self._http is not None:
            self._http.drain()
        elif self._tls is None and not self._ws.open:
            self.cut()
        else:
            self._end(CloseCode.GOING_AWAY)

    def tick(self, now: float) -> None:
        """Check time limits; *now* is the loop's time in seconds."""
        timeouts = self._shared.timeouts
        if self._stage is _CLOSING:
            if now - self._since >= _CLOSING_SECONDS:
                self._end(abort=True)
            return
        http = self._http
        if http is None:
            if now - self._since >= timeouts.handshake:
                self._handshake_failed("timeout", "not complete in time")
                self._end(abort=True)
            return
        progress = (http.phase, http.served)
        if progress != self._progress:
            self._progress = progress
            self._since = now
        http.tick(now)
        if progress[0] == HEAD and now - self._since >= timeouts.header:
            http.head_overdue()
        elif progress[0] == IDLE and now - self._since >= timeouts.idle:
            http.drain()
        self._keep_open(progress[0] == BUSY, now)

    def _keep_open(self, busy: bool, now: float) -> None:
        """Send a PING now and then while a request is open and quiet (RFC 6455 §5.5.2)."""
        if self._wrote or not busy:
            self._wrote = False
            self._quiet_since = now
        elif now - self._quiet_since >= _QUIET_SECONDS:
            self._ws.ping()
            self.wake()
