"""The proxy's log: readable text on a terminal, one JSON object per line under systemd.

Whatever a client sends may end up in a field, so both forms are pure printable ASCII on one line: a
hostile value can neither start a line of its own nor send an escape sequence to a terminal.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO

DEBUG = logging.DEBUG
INFO = logging.INFO
WARN = logging.WARNING
ERROR = logging.ERROR

_LEVELS = {"debug": DEBUG, "info": INFO, "warn": WARN, "error": ERROR}
_NAMES = {number: name for name, number in _LEVELS.items()}
_PLAIN = re.compile(
    r"[!#-<>-\[\]-~]+\Z"
)  # printable ASCII without blank, quote, equals sign and backslash
_MAX_VALUE = 2048
_FIELDS = "mcp_fields"

logger = logging.getLogger("mcp_proxy")


def event(log: logging.Logger, level: int, msg: str, **fields: object) -> None:
    """Log *msg*, a fixed text that operators can search for, with what varies in *fields*.

    *level* is one of :data:`DEBUG`, :data:`INFO`, :data:`WARN`, :data:`ERROR`. Fields that are
    ``None`` are left out.
    """
    if log.isEnabledFor(level):
        # Without Logger.log(): looking up the caller's file and line costs more than all the rest.
        log.handle(log.makeRecord(log.name, level, "", 0, msg, (), None, extra={_FIELDS: fields}))


def configure(level: str, stream: TextIO | None = None, as_json: bool | None = None) -> None:
    """Send everything of *level* (``debug``, ``info``, ``warn``, ``error``) and above to *stream*.

    The defaults are stderr, and JSON exactly if stderr is the journal. Safe to call again.
    """
    target = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        JsonFormatter() if (under_journal() if as_json is None else as_json) else TextFormatter()
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Libraries stay quiet unless something is wrong: at debug they would log what passes through.
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


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    given: Mapping[str, object] = getattr(record, _FIELDS, {})
    fields = {name: _value(value) for name, value in given.items() if value is not None}
    if record.name != logger.name:
        fields.setdefault("logger", record.name)
    if record.exc_info:
        fields["exception"] = logging.Formatter().formatException(record.exc_info)[-_MAX_VALUE:]
    return fields


def _value(value: object) -> Any:
    if isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return round(value, 6) if abs(value) < 1e300 else str(value)
    text = (
        value.decode("utf-8", "backslashreplace")
        if isinstance(value, (bytes, bytearray))
        else str(value)
    )
    return text if len(text) <= _MAX_VALUE else f"{text[:_MAX_VALUE]}... ({len(text)} characters)"


def _timestamp(record: logging.LogRecord) -> str:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.msecs):03d}Z"


def _level(record: logging.LogRecord) -> str:
    return _NAMES.get(record.levelno, "error" if record.levelno > ERROR else "info")


class JsonFormatter(logging.Formatter):
    """One JSON object per line: ``time`` (RFC 3339, UTC), ``level``, ``msg``, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """See the class."""
        line: dict[str, Any] = {
            "time": _timestamp(record),
            "level": _level(record),
            "msg": record.getMessage(),
        }
        for name, value in _fields(record).items():
            line.setdefault(name, value)
        return json.dumps(line, separators=(",", ":"))


class TextFormatter(logging.Formatter):
    """``TIME LEVEL message name=value …``; a value that is not plain is a JSON string."""

    def format(self, record: logging.LogRecord) -> str:
        """See the class."""
        message = json.dumps(record.getMessage())[1:-1].replace('\\"', '"')
        words = [_timestamp(record), f"{_level(record).upper():5}", message]
        words += [f"{name}={self._word(value)}" for name, value in _fields(record).items()]
        return " ".join(words)

    def _word(self, value: object) -> str:
        if isinstance(value, str) and not _PLAIN.match(value):
            return json.dumps(value)
        return json.dumps(value) if isinstance(value, bool) else str(value)
