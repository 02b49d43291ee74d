"""Which address of a name comes first, by what has happened to each of them lately."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

SET_ASIDE: Final = 5.0
"""Seconds for which an address that failed comes last; a trial then decides about it."""


class Addresses:
    """The addresses of one upstream.

    An address that failed is set aside: it is dialled only after all others. When it has been for
    :data:`SET_ASIDE` seconds, a trial may find out whether it is good again, while it still comes
    last. Without *spread* the address that was dialled last with success comes first
    as long as it is good; with it, the good ones take turns.
    """

    def __init__(self, spread: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._spread = spread
        self._clock = clock
        self._known: list[str] = []
        self._aside: dict[str, float] = {}  # when each is due for its trial
        self._last = ""

    def order(self, found: Sequence[str]) -> list[str]:
        """The addresses that a look-up has *found*, in the order in which to dial them.

        All that is known of others is forgotten.
        """
        self._known = sorted(found) if self._spread else list(found)
        there = set(found)
        self._aside = {text: due for text, due in self._aside.items() if text in there}
        at = self._known.index(self._last) if self._last in self._known else -1
        if self._spread:
            turned = self._known[at + 1 :] + self._known[: at + 1]
        elif at >= 0:
            turned = [self._last, *self._known[:at], *self._known[at + 1 :]]
        else:
            turned = self._known
        return sorted(turned, key=self._aside.__contains__)

    def next(self) -> str:
        """The address whose turn it is, of those found last; ``""`` if there is no choice."""
        known, aside = self._known, self._aside
        if len(known) < 2:
            return ""
        at = known.index(self._last) + 1 if self._last in known else 0
        turned = (*known[at:], *known[:at])
        return next((address for address in turned if address not in aside), "")

    def used(self, address: str) -> None:
        """A connection to *address* has been made, or is used again."""
        self._last = address

    def failed(self, address: str) -> bool:
        """Set *address* aside if there are others; return whether it was good before."""
        if len(self._known) < 2 or address not in self._known:
            return False
        new = address not in self._aside
        self._aside[address] = self._clock() + SET_ASIDE
        return new

    def mended(self, address: str) -> bool:
        """Take *address* back among the good ones; return whether it was set aside."""
        return self._aside.pop(address, None) is not None

    def due(self) -> str:
        """The address that has waited longest for its trial, which is to begin now; ``""`` if none.

        It is due again after :data:`SET_ASIDE` seconds, even if nothing comes of this trial.
        """
        if not self._aside or len(self._aside) == len(self._known):
            return ""  # with no good one, calls try them all anyway
        now = self._clock()
        address = min(self._aside, key=self._aside.__getitem__)
        if self._aside[address] > now:
            return ""
        self._aside[address] = now + SET_ASIDE
        return address
