"""Transports: what stands in for that of a lost connection, and writing past one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Final


class _Closed(asyncio.Transport):
    """Takes every call, and does nothing.

    A protocol and its transport refer to each other. Event loops do not all part them in the end,
    so the protocol does: otherwise both would stay until the garbage collector runs.
    """

    def is_closing(self) -> bool:
        """See :class:`asyncio.BaseTransport`: always."""
        return True

    def get_write_buffer_size(self) -> int:
        """See :class:`asyncio.WriteTransport`: nothing."""
        return 0

    def write(self, data: object) -> None:
        """See :class:`asyncio.WriteTransport`."""

    def close(self) -> None:
        """See :class:`asyncio.BaseTransport`."""

    def abort(self) -> None:
        """See :class:`asyncio.WriteTransport`."""

    def pause_reading(self) -> None:
        """See :class:`asyncio.ReadTransport`."""

    def resume_reading(self) -> None:
        """See :class:`asyncio.ReadTransport`."""


CLOSED: Final = _Closed()


def send_at_once(fileno: int, pieces: Sequence[bytes]) -> Sequence[bytes]:
    """Write *pieces* to the socket *fileno*; return what the system does not take.

    An upstream may answer, and close with the request unread. A write then fails, and a transport
    closes at once, with the answer unread. Here the failure is left to the next read, which finds
    the answer before the end (RFC 9112 §9.6).
    """
    try:
        return _rest(pieces, os.writev(fileno, pieces))
    except BlockingIOError:
        return pieces
    except OSError:
        return ()


def send_pieces(fileno: int, pieces: Sequence[bytes]) -> Sequence[bytes]:
    """Write *pieces* to the socket *fileno*; return what the system does not take.

    A failure is left to the transport, which is to be given all of the rest.
    """
    try:
        return _rest(pieces, os.writev(fileno, pieces))
    except OSError:
        return pieces


def _rest(pieces: Sequence[bytes], written: int) -> list[bytes]:
    """The part of *pieces* after the first *written* bytes."""
    rest: list[bytes] = []
    for piece in pieces:
        if written < len(piece):
            rest.append(piece[written:])
            written = 0
        else:
            written -= len(piece)
    return rest
