"""How much the client may still send (RFC 9113 §5.2, §6.9)."""

from __future__ import annotations


class ReceiveWindow:
    """The window of a stream, or of the connection, for what comes in."""

    __slots__ = ("_left", "_owed")

    def __init__(self, size: int) -> None:
        self._left = size
        self._owed = 0

    def take(self, size: int) -> bool:
        """*size* bytes have come; returns whether they were allowed."""
        self._left -= size
        return self._left >= 0

    def give(self, size: int) -> int:
        """*size* bytes are dealt with; returns what to announce now.

        Rarely, but before the client runs dry: when that at least doubles what it may send.
        """
        self._owed += size
        if self._owed < self._left:
            return 0
        increment, self._owed = self._owed, 0
        self._left += increment
        return increment
