"""The proxy's log: readable text on a terminal, one JSON object per line under systemd.

Every request has a line, so lines are made by hand and leave once per turn of the event loop.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO, Union

from .log_lines import MAX_VALUE, Form, JsonForm, TextForm
from .log_output import LogOutput

DEBUG = logging.DEBUG
INFO = logging.INFO
WARN = logging.WARNING
ERROR = logging.ERROR

_LEVELS = {"debug": DEBUG, "info": INFO, "warn": WARN, "error": ERROR}
_NAMES = {number: name for name, number in _LEVELS.items()}
_AT_ONCE = 4096
"""Bytes that several processes can write to one pipe without mixing them (PIPE_BUF, pipe(7))."""
_FIELDS = "mcp_fields"
_MOST_TEMPLATES = 1024
"""Starts of frequent lines that are kept: some for each route and method."""

Label = Union[str, bytes, None]
"""The value of a label of :class:`Frequent`."""

logger = logging.getLogger("mcp_proxy")
access = logging.getLogger("mcp_proxy.access")
"""Logs a line of each request for those who want it, whatever the level of the log."""
access.setLevel(INFO)


def event(log: logging.Logger, level: int, msg: str, **fields: object) -> None:
    """Log *msg*, a fixed text that operators can search for, with the variable parts in *fields*.

    *level* is one of :data:`DEBUG`, :data:`INFO`, :data:`WARN`, :data:`ERROR`. Fields that are
    ``None`` are left out.
    """
    if not log.isEnabledFor(level):
        return
    if (log is logger or log is access) and _own is not None and _own in logging.root.handlers:
        # Past logging, which would make a record and look for handlers, at ten times the cost.
        _own.add_event(time.time(), level, msg, fields)
    else:
        log.handle(log.makeRecord(log.name, level, "", 0, msg, (), None, extra={_FIELDS: fields}))


class Frequent:
    """An event that happens all the time. Most of its line is made once."""

    def __init__(self, level: int, msg: str, labels: Sequence[str], figures: Sequence[str]) -> None:
        """*level* and *msg* as in :func:`event`; *labels* and *figures* are names of fields.

        Labels have few values, which come again and again. Figures are numbers of ordinary size.
        """
        self.level = level
        self.msg = msg
        self.labels = labels
        self.figures = figures

    def __call__(self, labels: tuple[Label, ...], figures: tuple[float, ...]) -> None:
        """Log it, without labels that are ``None``. The caller knows that the level is logged."""
        if _own is not None and _own in logging.root.handlers:
            _own.add_frequent(self, time.time(), labels, figures)
        else:
            given = zip((*self.labels, *self.figures), (*labels, *figures))
            event(logger, self.level, self.msg, **dict(given))


def configure(level: str, stream: TextIO | None = None, as_json: bool | None = None) -> None:
    """Send everything of *level* (``debug``, ``info``, ``warn``, ``error``) and above to *stream*.

    The defaults are stderr, and JSON exactly if stderr is the journal. Safe to call again.
    """
    global _own
    write = _stderr() if stream is None else functools.partial(_write_to, stream)
    _own = _Lines(write, under_journal() if as_json is None else as_json)
    root = logging.getLogger()
    root.handlers[:] = [_own]
    # Libraries log warnings only: at debug they would log the data that passes through.
    root.setLevel(WARN)
    logger.setLevel(_LEVELS[level])
    logging.raiseExceptions = (
        False  # a full disk or a closed pipe must not make every line a traceback
    )


def under_journal() -> bool:
    """Whether stderr is connected to systemd's journal (systemd.exec(5), ``JOURNAL_STREAM``)."""
    device, colon, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    if not (colon and device.isdecimal() and inode.isdecimal()):
        return False
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return (status.st_dev, status.st_ino) == (int(device), int(inode))


class _Lines(logging.Handler):
    """Writes a line per record; those of one turn of the event loop together, at its end.

    Lines that are left are written when the process exits (by ``logging``, which flushes every
    handler).
    """

    def __init__(self, write: _Write, as_json: bool) -> None:
        super().__init__()
        self._write = write
        self._form: Form = JsonForm() if as_json else TextForm()
        self._templates: dict[tuple[Frequent, tuple[Label, ...]], str] = {}
        self._lines: list[str] = []
        self._second = 0
        self._to_the_second = ""
        self._millisecond = 0
        self._stamp = ""

    def emit(self, record: logging.LogRecord) -> None:
        """See :class:`logging.Handler`: lines of libraries, and those with an exception."""
        self.add_event(record.created, record.levelno, record.getMessage(), _fields(record))

    def add_event(self, now: float, level: int, msg: str, fields: Mapping[str, object]) -> None:
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

    def close(self) -> None:
        """See :class:`logging.Handler`: the process ends."""
        self.flush()
        if _output is not None:
            _output.finish()
        super().close()

    def _lost(self, number: int) -> str:
        return self._form.line(self._stamp, "warn", "log lines lost", {"lines": number}) + "\n"


_Write = Callable[[str, Callable[[int], str]], None]
_own: _Lines | None = None
_output: LogOutput | None = None


def _stderr() -> _Write:
    """The one way to stderr, whose lines may still wait when the log is configured again."""
    global _output
    if _output is None:
        _output = LogOutput(sys.stderr.fileno())
    return _output.write


def _write_to(stream: TextIO, text: str, _lost: Callable[[int], str]) -> None:
    stream.write(text)
    stream.flush()


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields: dict[str, Any] = dict(getattr(record, _FIELDS, {}))
    if record.name != logger.name:
        fields.setdefault("logger", record.name)
    if record.exc_info:
        fields["exception"] = logging.Formatter().formatException(record.exc_info)[-MAX_VALUE:]
    return fields


def _level(number: int) -> str:
    return _NAMES.get(number, "error" if number > ERROR else "info")
