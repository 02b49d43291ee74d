"""How much the client may still send (RFC 9113 §5.2, §6.9)."""

from __future__ import annotations


class ReceiveWindow:
    """The window of a stream, or of the connection, for what comes in."""

    __slots__ = ("_left", "_owed")

    def __init__(self, size: int) -> None:
        self._left = size
        self._owed = 0

    def take(self, size: int) -> bool:
        """Count *size* bytes that have come; return whether they were allowed."""
        self._left -= size
        return self._left >= 0

    def give(self, size: int) -> int:
        """Count *size* bytes as dealt with; return the increment to announce now, 0 for none.

        Announced rarely, but before the client runs dry: when it at least doubles the window.
        """
        self._owed += size
        if self._owed < self._left:
            return 0
        increment, self._owed = self._owed, 0
        self._left += increment
        return increment
