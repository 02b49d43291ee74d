"""TLS towards an upstream, between a TCP transport and a protocol that takes it for a transport.

An event loop's own TLS gives a connection up as soon as a write fails, with an answer unread that
has arrived before (RFC 9112 §9.6). Here a failed write is left to the next read.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import ssl
from typing import Any, cast

from ..system.transports import CLOSED, send_at_once

_CIPHERTEXT = 1 << 16
"""Bytes read from the network at a time."""


class UpstreamTls(asyncio.Transport, asyncio.BufferedProtocol):
    """The client's side of one TLS connection.

    Towards the network it is a protocol, towards *above* a transport. ``ready`` is done once the
    handshake is, after ``above.connection_made``; its error is an :class:`ssl.SSLError` or an
    :class:`OSError`.
    """

    _scratch = memoryview(bytearray(_CIPHERTEXT))  # what is read is copied at once

    def __init__(self, above: asyncio.BufferedProtocol, context: ssl.SSLContext, host: str) -> None:
        """Verify that the upstream's certificate is one for *host*."""
        super().__init__()
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._above: asyncio.BufferedProtocol | None = above
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._plain: asyncio.Transport = CLOSED
        self._open = False  # the handshake is through
        self._paused = False
        self._busy = False
        self._ended = False  # the upstream has closed its side of TLS
        self._over = False  # the connection is lost, after what has come ...
        self._lost: Exception | None = None  # ... for this reason
        self._dropped = False  # and nothing of that is wanted

    # -- towards the network -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See :class:`asyncio.BaseProtocol`."""
        self._plain = cast(asyncio.Transport, transport)
        if self._dropped:
            self._plain.abort()
            return
        self._fileno = transport.get_extra_info("socket").fileno()
        self._shake_hands()

    def get_buffer(self, sizehint: int) -> memoryview:
        """See :class:`asyncio.BufferedProtocol`."""
        return self._scratch

    def buffer_updated(self, nbytes: int) -> None:
        """See :class:`asyncio.BufferedProtocol`."""
        if self._ended or self._dropped:
            return
        self._incoming.write(self._scratch[:nbytes])
        if not self._open:
            self._shake_hands()
        if self._open:
            self._hand_on()

    def eof_received(self) -> bool:
        """See :class:`asyncio.BaseProtocol`."""
        if not self._open:
            return False
        self._incoming.write_eof()
        self._hand_on()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """See :class:`asyncio.BaseProtocol`."""
        self._over = True
        self._lost = self._lost or exc
        self._plain = CLOSED
        if not self._open:
            reset = ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
            self._fail(exc or reset)
            self._above = None
        else:
            self._hand_on()

    def pause_writing(self) -> None:
        """See :class:`asyncio.BaseProtocol`."""
        if self._above is not None and self._open:
            self._above.pause_writing()

    def resume_writing(self) -> None:
        """See :class:`asyncio.BaseProtocol`."""
        if self._above is not None and self._open:
            self._above.resume_writing()

    def _shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except ssl.SSLError as error:
            self._flush()  # with the alert that says why
            self._plain.close()
            self._fail(error)
            return
        self._flush()
        self._open = True
        if self._above is not None:
            self._above.connection_made(self)
        if not self.ready.done():
            self.ready.set_result(None)

    def _fail(self, error: Exception) -> None:
        if not self.ready.done():
            self.ready.set_exception(error)

    def _hand_on(self) -> None:
        """Give what has come to the protocol above, as long as it takes it."""
        if self._busy:
            return
        self._busy = True
        try:
            while self._above is not None and not (self._paused or self._ended or self._dropped):
                if not self._read_once(self._above):
                    break
        finally:
            self._busy = False
        if self._over and (self._dropped or not self._paused):
            above, self._above = self._above, None
            if above is not None:
                above.connection_lost(self._lost)

    def _read_once(self, above: asyncio.BufferedProtocol) -> bool:
        """Fill one buffer of *above*; return whether there may be more."""
        buffer = memoryview(above.get_buffer(-1))
        size, got = len(buffer), 0
        more = True
        try:
            while got < size:
                count = self._tls.read(size - got, buffer[got:])
                if not count:
                    raise ssl.SSLZeroReturnError
                got += cast(int, count)
        except ssl.SSLWantReadError:
            more = False
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            self._ended, more = True, False
        except ssl.SSLError as error:
            self._lost = error
            self._plain.abort()
            more = False
        if got:
            above.buffer_updated(got)
        if self._ended and not self._dropped and not above.eof_received():
            self.close()
        return more

    # -- towards the protocol above ----------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """See :class:`asyncio.BaseTransport`."""
        return self._tls if name == "ssl_object" else self._plain.get_extra_info(name, default)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """See :class:`asyncio.WriteTransport`."""
        self._plain.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """See :class:`asyncio.WriteTransport`."""
        return self._plain.get_write_buffer_size()

    @property
    def unread(self) -> int:
        """Bytes, most of them encrypted, that have come and wait here for the protocol above."""
        return self._incoming.pending + self._tls.pending()

    def write(self, data: Any) -> None:
        """See :class:`asyncio.WriteTransport`."""
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            self._lost = error
            self._plain.abort()
        else:
            self._flush()

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data and not self._plain.is_closing():
            at_once = not self._plain.get_write_buffer_size()
            if rest := send_at_once(self._fileno, [data]) if at_once else [data]:
                self._plain.writelines(rest)

    def pause_reading(self) -> None:
        """See :class:`asyncio.ReadTransport`."""
        self._paused = True
        if not self._plain.is_closing():
            self._plain.pause_reading()

    def resume_reading(self) -> None:
        """See :class:`asyncio.ReadTransport`."""
        self._paused = False
        if not self._plain.is_closing():
            self._plain.resume_reading()
        # Not from within: who resumes may be in the midst of something.
        asyncio.get_running_loop().call_soon(self._hand_on)

    def is_closing(self) -> bool:
        """See :class:`asyncio.BaseTransport`."""
        return self._dropped or (self._plain.is_closing() and not self._over)

    def close(self) -> None:
        """See :class:`asyncio.BaseTransport`: with a close_notify, after what was written."""
        if self._plain.is_closing():
            return
        # The upstream's close_notify is not waited for.
        with contextlib.suppress(ssl.SSLError, ValueError):
            self._tls.unwrap()
        self._flush()
        self._plain.close()

    def abort(self) -> None:
        """See :class:`asyncio.WriteTransport`."""
        self._dropped = True
        self._plain.abort()
        if self._over:
            self._hand_on()
