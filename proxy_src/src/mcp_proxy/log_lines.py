"""The two forms of a log line: text for people, JSON for the journal.

Whatever a client sends may end up in a field, so both forms are pure printable ASCII on one line: a
hostile value can neither start a line of its own nor send an escape sequence to a terminal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from json.encoder import encode_basestring_ascii as _quoted

MAX_VALUE = 2048
"""Characters of a value that are shown."""

_OURS = frozenset(("time", "level", "msg"))
_PLAIN = re.compile(
    r"[!#-<>-\[\]-~]+\Z"
)  # printable ASCII without blank, quote, equals sign and backslash


def json_line(stamp: str, level: str, msg: str, fields: Mapping[str, object]) -> str:
    """One JSON object: ``time`` (RFC 3339, UTC), ``level``, ``msg``, then the fields."""
    line = f'{{"time":"{stamp}","level":"{level}","msg":{_quoted(msg)}'
    for name, value in fields.items():
        if value is None or name in _OURS:
            continue
        if type(value) is int:  # most are
            line += f',"{name}":{value}'
        else:
            line += f',"{name}":{_number(value) or _quoted(_text(value))}'
    return line + "}"


def text_line(stamp: str, level: str, msg: str, fields: Mapping[str, object]) -> str:
    """``TIME LEVEL message name=value …``; a value that is not plain is a JSON string."""
    line = f"{stamp} {level.upper():5} " + _quoted(msg)[1:-1].replace('\\"', '"')
    for name, value in fields.items():
        if type(value) is int:
            line += f" {name}={value}"
        elif value is not None:
            line += f" {name}={_number(value) or _word(_text(value))}"
    return line


def _word(text: str) -> str:
    return text if _PLAIN.match(text) else _quoted(text)


def _number(value: object) -> str:
    """*value* in JSON if it is a number or a truth value, otherwise nothing."""
    if isinstance(value, float):
        return repr(round(value, 6)) if abs(value) < 1e300 else ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return int.__repr__(value) if isinstance(value, int) else ""


def _text(value: object) -> str:
    text = (
        value.decode("utf-8", "backslashreplace")
        if isinstance(value, (bytes, bytearray))
        else str(value)
    )
    return text if len(text) <= MAX_VALUE else f"{text[:MAX_VALUE]}... ({len(text)} characters)"
