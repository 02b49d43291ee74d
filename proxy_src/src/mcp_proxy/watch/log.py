"""The proxy's log: readable text on a terminal, one JSON object per line under systemd.

Every request has a line, so lines are made by hand and leave once per turn of the event loop.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from .log_forms import MAX_VALUE, JsonForm, TextForm
from .log_lines import LEVELS, Frequent, Label, LogLines, Write
from .log_output import LogOutput

DEBUG = logging.DEBUG
INFO = logging.INFO
WARN = logging.WARNING
ERROR = logging.ERROR

_NUMBERS = {name: number for number, name in LEVELS.items()}
_FIELDS = "mcp_fields"

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
        _own.lines.add(time.time(), level, msg, fields)
    else:
        log.handle(log.makeRecord(log.name, level, "", 0, msg, (), None, extra={_FIELDS: fields}))


def frequent(what: Frequent, labels: tuple[Label, ...], figures: tuple[float, ...]) -> None:
    """Log *what*, without labels that are ``None``. The caller knows that its level is logged."""
    if _own is not None and _own in logging.root.handlers:
        _own.lines.add_frequent(what, time.time(), labels, figures)
    else:
        given = zip((*what.labels, *what.figures), (*labels, *figures))
        event(logger, what.level, what.msg, **dict(given))


def configure(level: str, stream: TextIO | None = None, as_json: bool | None = None) -> None:
    """Send everything of *level* (``debug``, ``info``, ``warn``, ``error``) and above to *stream*.

    The defaults are stderr, and JSON exactly if stderr is the journal. Safe to call again.
    """
    global _own
    write = _stderr() if stream is None else functools.partial(_write_to, stream)
    as_json = under_journal() if as_json is None else as_json
    _own = _Handler(LogLines(write, JsonForm() if as_json else TextForm()))
    root = logging.getLogger()
    root.handlers[:] = [_own]
    # Libraries log warnings only: at debug they would log the data that passes through.
    root.setLevel(WARN)
    logger.setLevel(_NUMBERS[level])
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


class _Handler(logging.Handler):
    """Hands each record on as a line. ``logging`` flushes every handler when the process ends."""

    def __init__(self, lines: LogLines) -> None:
        super().__init__()
        self.lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """See :class:`logging.Handler`: lines of libraries, and those with an exception."""
        self.lines.add(record.created, record.levelno, record.getMessage(), _fields(record))

    def flush(self) -> None:
        """See :class:`logging.Handler`."""
        self.lines.flush()

    def close(self) -> None:
        """See :class:`logging.Handler`: the process ends."""
        self.flush()
        if _output is not None:
            _output.finish()
        super().close()


_own: _Handler | None = None
_output: LogOutput | None = None


def _stderr() -> Write:
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
