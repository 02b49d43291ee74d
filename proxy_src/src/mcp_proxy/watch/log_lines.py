"""Log lines on their way: made one by one, they leave once per turn of the event loop."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Union

from .log_forms import Form

LEVELS: Final = {
    logging.DEBUG: "debug",
    logging.INFO: "info",
    logging.WARNING: "warn",
    logging.ERROR: "error",
}
"""Levels as the log, and its setting, name them."""

_AT_ONCE: Final = 4096
"""Bytes that several processes can write to one pipe without mixing them (PIPE_BUF, pipe(7))."""
_MOST_TEMPLATES: Final = 1024
"""Starts of frequent lines that are kept: some for each route and method."""

Label = Union[str, bytes, None]
"""The value of a label of :class:`Frequent`."""

Write = Callable[[str, Callable[[int], str]], None]
"""Writes lines; the second argument makes the line that says how many are lost."""


class Frequent:
    """An event that happens all the time. Most of its line is made once."""

    def __init__(self, level: int, msg: str, labels: Sequence[str], figures: Sequence[str]) -> None:
        """*level* and *msg* as in :func:`log.event`; *labels* and *figures* are names of fields.

        Labels have few values, which come again and again. Figures are numbers of ordinary size.
        """
        self.level = level
        self.msg = msg
        self.labels = labels
        self.figures = figures


class LogLines:
    """Gathers the lines of one turn of the event loop, and writes them at its end."""

    def __init__(self, write: Write, form: Form) -> None:
        """Write with *write*, in one of the two forms of a line."""
        self._write = write
        self._form = form
        self._templates: dict[tuple[Frequent, tuple[Label, ...]], str] = {}
        self._lines: list[str] = []
        self._second = 0
        self._to_the_second = ""
        self._millisecond = 0
        self._stamp = ""

    def add(self, now: float, level: int, msg: str, fields: Mapping[str, object]) -> None:
        """Add a line about what happened at *now* (Unix time in seconds)."""
        self._add(self._form.line(self._time(now), _level(level), msg, fields))

    def add_frequent(
        self, what: Frequent, now: float, labels: tuple[Label, ...], figures: tuple[float, ...]
    ) -> None:
        """The same of *what*."""
        template = self._templates.get((what, labels))
        if template is None:
            template = self._template(what, labels)
        self._add(template % (self._time(now), *figures))

    def flush(self) -> None:
        """Write the lines that have gathered."""
        lines, self._lines = self._lines, []
        text = ""
        for line in lines:
            if len(text) + len(line) >= _AT_ONCE:
                self._write(text, self._lost)
                text = ""
            text += line + "\n"
        self._write(text, self._lost)

    def _template(self, what: Frequent, labels: tuple[Label, ...]) -> str:
        if len(self._templates) >= _MOST_TEMPLATES:
            self._templates.clear()
        named = dict(zip(what.labels, labels))
        template = self._form.template(_level(what.level), what.msg, named, what.figures)
        self._templates[what, labels] = template
        return template

    def _time(self, now: float) -> str:
        millisecond = int(now * 1000)
        if millisecond != self._millisecond:
            self._millisecond = millisecond
            second = int(now)
            if second != self._second:
                self._second = second
                self._to_the_second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._stamp = f"{self._to_the_second}.{millisecond % 1000:03d}Z"
        return self._stamp

    def _add(self, line: str) -> None:
        self._lines.append(line)
        if len(self._lines) > 1:
            return
        try:
            asyncio.get_running_loop().call_soon(self.flush)
        except RuntimeError:
            self.flush()

    def _lost(self, number: int) -> str:
        return self._form.line(self._stamp, "warn", "log lines lost", {"lines": number}) + "\n"


def _level(number: int) -> str:
    return LEVELS.get(number, "error" if number > logging.ERROR else "info")
