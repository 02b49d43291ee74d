"""Memory that was needed once, given back to the system.

The C library keeps memory that is freed. After many streams that nobody read, most of it lies in
holes, which the library returns only on request (malloc_trim(3)). A load between two looks is not
noticed; the next load takes its memory over.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Final

_MUCH: Final = 64
"""So many connections and requests together may have taken memory worth asking for."""


def _no_trim(_keep: int) -> int:
    return 0


def _malloc_trim() -> Callable[[int], int]:
    """Return malloc_trim of the C library, or a function that does nothing (musl has none)."""
    found: Callable[[int], int] = getattr(ctypes.CDLL(None), "malloc_trim", _no_trim)
    return found


class Surplus:
    """Asks for the return of memory when a load is over."""

    def __init__(self, trim: Callable[[int], int] | None = None) -> None:
        """*trim* is malloc_trim(3) unless given."""
        self._trim = trim or _malloc_trim()
        self._peak = 0
        self._before = 0

    def watch(self, load: int) -> None:
        """Take note of the *load*: how many connections and requests there are now."""
        self._peak = max(self._peak, load)
        # Not while the load still falls: a trim takes a few ms, and one is enough.
        if self._peak >= _MUCH and load <= self._peak // 2 and load >= self._before:
            self._trim(0)
            self._peak = load
        self._before = load
