"""Which streams of a connection have been, and how they ended (RFC 9113 §5.1)."""

from __future__ import annotations

from typing import Final

from .frames import ConnectionFault, ErrorCode, StreamFault, protocol_error

_REMEMBERED: Final = 1024
"""Streams whose end is remembered: frames may still be on their way to the latest only."""

ENDED: Final = "ended"
CANCELLED: Final = "cancelled"
RESET: Final = "reset"
"""How a stream has ended: both sides complete, reset by the client, reset by us."""


class StreamNumbers:
    """``highest`` is the number of the latest stream that the client has opened."""

    def __init__(self) -> None:
        self.highest = 0
        self._ends: dict[int, str] = {}

    def over(self, number: int, how: str) -> None:
        """Remember that the stream *number* is over."""
        self._ends[number] = how
        if len(self._ends) > 2 * _REMEMBERED:
            self._ends = dict(list(self._ends.items())[-_REMEMBERED:])

    def check_begun(self, number: int) -> None:
        """Raise :class:`ConnectionFault` if *number* is of a stream that was never opened."""
        if number > self.highest or not number & 1:
            raise protocol_error("frame of an idle stream")

    def check_late(self, number: int) -> None:
        """Judge a late frame of the stream *number*, which is over; return if it is to be ignored.

        Raises :class:`ConnectionFault` or :class:`StreamFault`.
        """
        how = self._ends.get(number)
        if how == CANCELLED:
            raise StreamFault(ErrorCode.STREAM_CLOSED)
        if how == ENDED:
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, "frame of a stream that has ended")
        if how is None:
            raise protocol_error("stream numbers must grow")
