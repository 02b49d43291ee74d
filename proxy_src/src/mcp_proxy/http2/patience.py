"""Limits on requests of a client that lead nowhere (RFC 9113 §10.5).

This counts frames that carry nothing (PING, SETTINGS, PRIORITY, empty DATA, window updates of a
byte, frames of unknown types, field sections without a field), and streams that come to nothing:
refused because there are too many, cancelled by the client before their answer began
(CVE-2023-44487), or made invalid by it so that we must cancel them (CVE-2025-8671). Both are
forgiven with time and with work that is done.
"""

from __future__ import annotations

from .frames import ConnectionFault, ErrorCode


class Patience:
    """An allowance that is spent, earned again, and never grows beyond its first amount."""

    __slots__ = ("_amount", "_left", "_per_second", "_since", "_what")

    def __init__(self, what: str, amount: int, per_second: int) -> None:
        """Allow *amount* of *what* at once, and *per_second* for ever."""
        self._what = what
        self._amount = amount
        self._left = float(amount)
        self._per_second = per_second
        self._since: float | None = None

    def spend(self) -> None:
        """One more. Raises :class:`ConnectionFault` if it was one too many."""
        self._left -= 1
        if self._left < 0:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"too many {self._what}")

    def earn(self, amount: float) -> None:
        """Something useful was done."""
        self._left = min(self._amount, self._left + amount)

    def tick(self, now: float) -> None:
        """Time passes; *now* is in seconds."""
        if self._since is not None:
            self.earn((now - self._since) * self._per_second)
        self._since = now
