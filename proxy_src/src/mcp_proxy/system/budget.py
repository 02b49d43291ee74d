"""How many bytes may wait for slow peers, in one process and on one connection.

A peer that stops reading is held back, but each of its streams has something by then. So each
connection, of a client or to an upstream, notes how much waits in it. When much waits in all, each
may have only little more. When too much does, those that hold most are cut, until it is less.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

PLENTY: Final = 1 << 27
"""Bytes that may wait in a process before everybody is held back as early as possible."""

MOST: Final = 1 << 28
"""Bytes that may wait in a process."""

MOST_EACH: Final = 1 << 25
"""Bytes that may wait in one connection."""

_RELIEF: Final = 16
"""Cuts go on until this part of what may wait is free: so the next one comes some time later."""


class Holder(Protocol):
    """A connection in which data waits. ``noted`` is for the budget: the bytes it knows of."""

    noted: int

    @property
    def held(self) -> int:
        """The bytes that wait in it now."""

    def give_way(self, held: int) -> None:
        """End the connection: its *held* bytes are too many."""


class Budget:
    """See the module. ``held`` is the sum of what was noted; ``cuts`` counts the connections cut.

    ``scarce`` tells whether so much waits that nobody should take more than is needed to get on.
    What was noted may be more than there is, as data leaves by itself, but not less.
    """

    __slots__ = ("_holders", "_most", "_plenty", "_relieving", "cuts", "held", "scarce")

    def __init__(self, plenty: int = PLENTY, most: int = MOST) -> None:
        self._plenty = plenty
        self._most = most
        self._holders: dict[Holder, None] = {}
        self._relieving = False
        self.held = 0
        self.cuts = 0
        self.scarce = False

    def note(self, holder: Holder, held: int) -> None:
        """Note that *held* bytes wait in *holder* now."""
        self.held += held - holder.noted
        self.scarce = self.held > self._plenty
        holder.noted = held
        if held:
            self._holders[holder] = None
            if (self.held > self._most or held > MOST_EACH) and not self._relieving:
                # Not at once: the holder is at work.
                self._relieving = True
                asyncio.get_running_loop().call_soon(self._relieve)
        else:
            self._holders.pop(holder, None)

    def refresh(self) -> None:
        """Look anew at those that have noted something."""
        for holder in list(self._holders):
            self.note(holder, holder.held)

    def _relieve(self) -> None:
        self.refresh()
        self._relieving = False
        holders = sorted(self._holders, key=lambda holder: holder.noted, reverse=True)
        enough = self._most - self._most // _RELIEF
        too_much = self.held > self._most
        for holder in holders:
            if not holder.noted:
                continue  # it has ended with one before it
            if holder.noted > MOST_EACH or (too_much and self.held > enough):
                held = holder.noted
                self.note(holder, 0)
                self.cuts += 1
                holder.give_way(held)
