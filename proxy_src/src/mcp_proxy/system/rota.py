"""Who may work now: the time of the event loop, shared out among the peers that cause work.

A peer decides how much work a byte makes: one read may hold ten thousand frames, chunks or heads.
So time is counted, not bytes. Each peer has an :class:`Account`. A peer that has used little time
lately is served as soon as something comes from it. A heavy user is served as long as this turn of
the loop has time for heavy users. Then it has to wait, unread, for one of the next turns, in which
the waiting peers are served one after the other. A turn is therefore never long, whatever comes.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

PER_TURN: Final = 0.004
"""Seconds of a turn of the event loop for all heavy users together."""

SLICE: Final = 0.002
"""Seconds of work for one peer after which it is the next one's turn."""

_FREE: Final = 0.005
"""Seconds used, less those forgiven, above which a peer counts as a heavy user."""
_FORGIVEN: Final = 0.02
"""Seconds that are forgiven in each second: the share of the processor that nobody minds."""
_MOST: Final = 0.05
"""Seconds that are remembered at most: a heavy user counts as one for a few more seconds."""

_SMALLEST: Final = 1 << 10
_FIRST: Final = 1 << 13
_LARGEST: Final = 1 << 16
"""Bytes of a :class:`Portion`."""
QUICK: Final = SLICE / 4
_LONG: Final = SLICE
"""Seconds above which a portion shrinks instead of growing."""


class Account:
    """The time that one peer has used, and the work that is put off for it."""

    __slots__ = ("since", "used", "waiting")

    def __init__(self) -> None:
        self.used = 0.0
        self.since = 0.0
        self.waiting: list[Callable[[], None]] = []  # an empty deque takes 600 bytes


class Portion:
    """Bytes to take from a peer in one go: as many as cost a slice of time lately."""

    __slots__ = ("_largest", "size")

    def __init__(self, largest: int = _LARGEST) -> None:
        """At most *largest* bytes."""
        self._largest = largest
        self.size = _FIRST

    def took(self, size: int, seconds: float) -> None:
        """*size* bytes took *seconds*."""
        if seconds > _LONG:
            self.size = max(_SMALLEST, min(self.size, int(size * _LONG / seconds)))
        elif size >= self.size < self._largest and seconds < QUICK:
            self.size *= 2


class Rota:
    """See the module; one for each event loop.

    ``busy`` tells whether a peer waits, or this turn's time for heavy users is spent. As long as
    it is false, every peer is served.
    """

    __slots__ = ("_counting", "_loop", "_spent", "_waiting", "busy", "clock")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.busy = False
        self._waiting: deque[Account] = deque()
        self._spent = 0.0  # in this turn, for heavy users
        self._counting = False  # until the turn ends
        self._loop: asyncio.AbstractEventLoop | None = None

    def serves(self, account: Account, now: float) -> bool:
        """Whether work for *account* may be done now; else it is to be :meth:`put_off`."""
        if not self.busy:
            return True
        if account.waiting:
            return False
        return account.used - (now - account.since) * _FORGIVEN <= _FREE

    def charge(self, account: Account, began: float, now: float) -> None:
        """Work for *account* has been done from *began* until *now*."""
        seconds = now - began
        used = account.used + seconds
        if used > _FREE:
            # Forgiven time is worked out only now: most peers never come here.
            used -= (now - account.since) * _FORGIVEN
            if used < seconds:
                used = seconds
            account.since = now
            if used > _FREE:
                if used > _MOST:
                    used = _MOST
                self._spent += seconds
                if not self._counting:
                    self._counting = True
                    self._call_soon(self.turn_ends)
                if self._spent >= PER_TURN:
                    self._schedule()
        account.used = used

    def turn_ends(self) -> None:
        """Count the time for heavy users anew."""
        self._counting = False
        if not self.busy:
            self._spent = 0.0

    def put_off(self, account: Account, work: Callable[[], None]) -> None:
        """Do *work*, about a slice of it, when it is the turn of *account*."""
        if not account.waiting:
            self._waiting.append(account)
        account.waiting.append(work)
        self._schedule()

    def _schedule(self) -> None:
        if not self.busy:
            self.busy = True
            self._call_soon(self._next_turn)

    def _call_soon(self, work: Callable[[], None]) -> None:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        self._loop.call_soon(work)

    def _next_turn(self) -> None:
        waiting = self._waiting
        began = self.clock()
        # Work that is put off again while this runs queues behind the work that waits now.
        while waiting:
            account = waiting.popleft()
            work = account.waiting.pop(0)
            if account.waiting:
                waiting.append(account)
            try:
                work()
            except Exception as error:  # as the loop does: the others' work goes on
                asyncio.get_running_loop().call_exception_handler(
                    {"message": "work that was put off failed", "exception": error}
                )
            if self.clock() - began >= PER_TURN:
                break
        self.busy = False
        self._spent = self.clock() - began
        if waiting or self._spent >= PER_TURN:
            self._schedule()
