"""The inner TLS: the server's side of a TLS connection between two byte streams (sans-IO)."""

from __future__ import annotations

import ssl
from typing import Any, Final

RECORD: Final = 16384
"""Plaintext bytes of one TLS record at most (RFC 8446 §5.1); a read never returns more."""

_FIRST_RECORDS: Final = 4096
"""Plaintext bytes of each record for the first 32 KiB of a long write: the peer can use a record
only when it is complete, and a connection that was quiet sends few packets before the peer's
acknowledgement."""
_BULK_AFTER: Final = 32768
"""How many bytes leave in such records before full ones cost less than they delay."""
_MAY_WAIT: Final = 4096
"""So many bytes for which no peer waits may go along with the next data."""


class TlsFailed(Exception):
    """The handshake or a record is bad; the text is OpenSSL's reason. An alert may be waiting."""


class InnerTls:
    """One TLS server connection.

    Ciphertext from the peer goes into :meth:`feed`, plaintext comes out of :meth:`read`; plaintext
    for the peer goes into :meth:`write`, ciphertext comes out of :meth:`output`.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        """Use the certificate that *context* holds now, for the life of the connection."""
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.feed = self._incoming.write
        self.output = self._outgoing.read
        self._shaken = False  # whether the handshake is complete
        self.ended = False  # whether the peer has said that it sends nothing more
        self._partly = False  # whether some of a record may have been left by read()
        self._at_length = 0  # bytes since something short was written

    @property
    def unread(self) -> int:
        """Bytes fed that have not come out of :meth:`read`; if there are none, nothing can."""
        if self._partly:
            return self._incoming.pending + self._tls.pending()
        return self._incoming.pending

    @property
    def may_answer(self) -> bool:
        """Whether the peer may still read after its close_notify.

        It may from TLS 1.3 on (RFC 8446 §6.1); before, the close_notify ends both directions
        (RFC 5246 §7.2.1).
        """
        return self._tls.version() == "TLSv1.3"

    @property
    def unsent(self) -> int:
        """Bytes of ciphertext that :meth:`output` would return."""
        return self._outgoing.pending

    @property
    def urgent(self) -> bool:
        """Whether there is something unsent that the peer may wait for.

        After the handshake of TLS 1.3, there is only what may go along with the next data: session
        tickets and answers to key updates (RFC 8446 §4.6). A peer may ask for any number of these.
        """
        pending = self._outgoing.pending
        if not pending or pending > _MAY_WAIT:
            return pending > 0
        return not (self._shaken and self.version == "TLSv1.3")

    @property
    def alpn(self) -> str:
        """The protocol agreed on, or ``""``."""
        return self._tls.selected_alpn_protocol() or ""

    @property
    def version(self) -> str:
        """The TLS version agreed on, as :mod:`ssl` names it."""
        return self._tls.version() or ""

    @property
    def resumed(self) -> bool:
        """Whether the client resumed an earlier session."""
        return bool(self._tls.session_reused)

    def handshake(self) -> bool:
        """Go on with the handshake; return whether it is complete. Raises :class:`TlsFailed`."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except (ssl.SSLError, ssl.CertificateError) as error:
            raise TlsFailed(_reason(error)) from error
        self._shaken = True
        return True

    def read(self, most: int = RECORD) -> bytes | None:
        """Return some plaintext, ``b""`` if more must be fed first, ``None`` if the peer closed.

        That is one record, or *most* bytes of it. Raises :class:`TlsFailed`.
        """
        try:
            data = self._tls.read(most)
            self._partly = len(data) == most < RECORD
            return data or None
        except ssl.SSLWantReadError:
            return b""
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            self._end()
            return None
        except ssl.SSLError as error:
            raise TlsFailed(_reason(error)) from error

    def read_into(self, buffer: memoryview) -> memoryview | None:
        """Like :meth:`read`, of all records that have come, as far as *buffer* has room.

        If the peer has closed, or a record is bad, what came with that is lost: this is for content
        that is worth nothing without its end.
        """
        filled, size = 0, len(buffer)
        tls: Any = self._tls  # whose read() returns a number here
        self._partly = False
        try:
            while filled < size and (not filled or self._incoming.pending):
                got = tls.read(size - filled, buffer[filled:])
                if not got:
                    return None
                filled += got
            self._partly = filled == size
        except ssl.SSLWantReadError:
            pass
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            self._end()
            return None
        except ssl.SSLError as error:
            raise TlsFailed(_reason(error)) from error
        return buffer[:filled]

    def _end(self) -> None:
        """Treat the peer's side as ended: nothing that follows counts."""
        self.ended = True
        self._partly = False
        self._incoming.read()
        self.feed = lambda data: 0

    def write(self, data: bytes | memoryview) -> None:
        """Encrypt *data*, all of it. Raises :class:`TlsFailed`."""
        try:
            if len(data) <= _FIRST_RECORDS:
                self._at_length = 0
            elif self._at_length < _BULK_AFTER:
                data = self._write_gently(data)
            if data:
                self._tls.write(data)
        except ssl.SSLError as error:
            raise TlsFailed(_reason(error)) from error

    def _write_gently(self, data: bytes | memoryview) -> bytes | memoryview:
        """Write the start of *data* in small records; return the rest."""
        gently = min(len(data), _BULK_AFTER - self._at_length)
        for start in range(0, gently, _FIRST_RECORDS):
            self._tls.write(data[start : min(start + _FIRST_RECORDS, gently)])
        self._at_length += len(data)
        return data[gently:]

    def close(self) -> None:
        """Send close_notify, without waiting for that of the peer."""
        try:
            self._tls.unwrap()
        except (ssl.SSLError, ValueError):
            # Normally the error asks for the peer's close_notify; any other means that there is no
            # connection left to close.
            return


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).lower().replace("_", " ")
