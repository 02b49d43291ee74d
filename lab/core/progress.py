"""Progress for a person to see while a lab is being made: a line per step, on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from math import ceil

_SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """One line per step; details overwrite each other on a terminal, else come every 10 s."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._open_line = False
        self._last_detail = 0.0

    def step(self, text: str) -> None:
        """Begins a step; ``text`` stays visible."""
        self.clear()
        print(f"lab: {text}", file=sys.stderr, flush=True)
        self._last_detail = time.monotonic()

    def detail(self, text: str) -> None:
        """Shows the progress of the current step."""
        if self._terminal:
            print(f"\r\033[K  {text[:76]}", end="", file=sys.stderr, flush=True)
            self._open_line = True
        elif time.monotonic() - self._last_detail >= _SECONDS_BETWEEN_LINES:
            print(f"lab:   {text}", file=sys.stderr, flush=True)
            self._last_detail = time.monotonic()

    def clear(self) -> None:
        """Takes the last detail off the terminal, before other output."""
        if self._open_line:
            print("\r\033[K", end="", file=sys.stderr)
            self._open_line = False


class Pace:
    """How far a work of equal steps is, and how long the rest takes at the pace so far."""

    #: Percent of the steps before which their pace says nothing.
    _TOO_EARLY = 5

    def __init__(self, steps: int, clock: Callable[[], float] = time.monotonic) -> None:
        """*steps* is about how many there will be."""
        self._steps = steps
        self._done = 0
        self._clock = clock
        self._began = clock()

    def step(self) -> None:
        """Counts a step that is done."""
        self._done += 1

    def __str__(self) -> str:
        percent = min(100 * self._done // self._steps, 99)
        if percent < self._TOO_EARLY:
            return f"{percent} %"
        ahead = max(self._steps - self._done, 0) * (self._clock() - self._began) / self._done
        return f"{percent} %, about {5 * ceil(ahead / 5)} s more"
