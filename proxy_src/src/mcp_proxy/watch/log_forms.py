"""The two forms of a log line: text for people, JSON for the journal.

Anything that a client sends may end up in a field, so both forms are pure printable ASCII on one
line: a hostile value can neither start a line of its own nor send an escape sequence to a terminal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from json.encoder import encode_basestring_ascii as _quoted
from typing import Any, Final, Protocol

MAX_VALUE: Final = 2048
"""Characters of a value that are shown."""

_PLAIN: Final = re.compile(
    r"[!#-<>-\[\]-~]+\Z"
)  # printable ASCII without blank, quote, equals sign and backslash
_OURS: Final = frozenset(("time", "level", "msg"))
_STAMP: Final = "\0"
"""Stands for the time: no line has this character."""


class Form(Protocol):
    """How lines look. ``stamp`` is the time, ``level`` and ``msg`` as in :func:`log.event`."""

    def line(self, stamp: str, level: str, msg: str, fields: Mapping[str, object]) -> str:
        """A line; fields that are ``None`` are left out."""

    def template(
        self, level: str, msg: str, labels: Mapping[str, object], figures: Sequence[str]
    ) -> str:
        """Return the ``%`` format of a line with the fields *labels*, then those named *figures*.

        The stamp and the figures, which are numbers of ordinary size, fill it in.
        """


class JsonForm:
    """One JSON object: ``time`` (RFC 3339, UTC), ``level``, ``msg``, then the fields."""

    def line(self, stamp: str, level: str, msg: str, fields: Mapping[str, object]) -> str:
        """See :class:`Form`."""
        line = f'{{"time":"{stamp}","level":"{level}","msg":{_string(msg)}'
        for name, value in fields.items():
            if value is not None and name not in _OURS:
                line += f',"{name}":{_JSON.get(type(value), _other)(value)}'
        return line + "}"

    def template(
        self, level: str, msg: str, labels: Mapping[str, object], figures: Sequence[str]
    ) -> str:
        """See :class:`Form`."""
        start = _format(self.line(_STAMP, level, msg, labels)[:-1])
        return start + "".join(f',"{name}":%s' for name in figures) + "}"


class TextForm:
    """``TIME LEVEL message name=value …``; a value that is not plain is a JSON string."""

    def line(self, stamp: str, level: str, msg: str, fields: Mapping[str, object]) -> str:
        """See :class:`Form`."""
        line = f"{stamp} {level.upper():5} {_sentence(msg)}"
        for name, value in fields.items():
            if value is not None:
                line += f" {name}={_TEXT.get(type(value), _other_word)(value)}"
        return line

    def template(
        self, level: str, msg: str, labels: Mapping[str, object], figures: Sequence[str]
    ) -> str:
        """See :class:`Form`."""
        start = _format(self.line(_STAMP, level, msg, labels))
        return start + "".join(f" {name}=%s" for name in figures)


def _format(line: str) -> str:
    """The ``%`` format of a *line* whose stamp is :data:`_STAMP`."""
    return line.replace("%", "%%").replace(_STAMP, "%s", 1)


def _text(value: object) -> str:
    text = (
        value.decode("utf-8", "backslashreplace")
        if isinstance(value, (bytes, bytearray))
        else str(value)
    )
    return text if len(text) <= MAX_VALUE else f"{text[:MAX_VALUE]}... ({len(text)} characters)"


def _float(value: float) -> str:
    return repr(round(value, 6)) if abs(value) < 1e300 else f'"{value}"'


def _other(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return int.__repr__(value) if isinstance(value, int) else _quoted(_text(value))


def _other_word(value: object) -> str:
    if isinstance(value, int):
        return _other(value)
    text = _text(value)
    return text if _PLAIN.match(text) else _quoted(text)


# Most values come again and again: routes, methods, messages.
_string = lru_cache(64)(_other)
_word = lru_cache(64)(_other_word)


@lru_cache(64)
def _sentence(msg: str) -> str:
    return _quoted(msg)[1:-1].replace('\\"', '"')


_JSON: Final[dict[type, Callable[[Any], str]]] = {
    int: int.__repr__,
    str: _string,
    bytes: _string,
    float: _float,
}
_TEXT: Final[dict[type, Callable[[Any], str]]] = {**_JSON, str: _word, bytes: _word}
