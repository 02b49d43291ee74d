# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds secrets in any bytes, also in parts and in other codings.

Of each secret, and of its base64 (RFC 4648, in all three alignments, both alphabets) and
hexadecimal forms, all pieces of PIECE letters and digits are known. A haystack is read in several
ways: without white space and punctuation, which wrapped, quoted or escaped text has between its
parts; with percent-encoding (RFC 3986) and the escapes of JSON undone; as hexadecimal digits. Every
PIECE-th piece of each reading is looked up. So a part of a secret is found from ``2 * PIECE - 1``
letters and digits on, in one pass.

Text in the form of a secret that is none of the host's own may come from anybody, in a request for
example. Its lines are blanked, so that nobody can keep a journal out of the archive.
"""

from __future__ import annotations

import base64
import binascii
import re
import string
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate, takewhile
from urllib.parse import unquote_to_bytes

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.support.secrets import Known

PIECE = 12
#: The name of text that has the form of a secret, and is none of the host's own.
SHAPE = "something in the form of a key or a token"
# Also what the two alphabets of base64 do not share.
_BETWEEN = (string.whitespace + string.punctuation + "\0").encode()
_ESCAPE = re.compile(rb"\\(?:u00|x)([0-9a-fA-F]{2})")
_OF_HEX = re.compile(rb"\\x|0x")
_KEY_OR_ACCESS = re.compile(rb"PRIVATE KEY-----|sk-ant-[A-Za-z0-9_-]{8}")
# An object of JSON in base64: a tunnel token, or the first part of a JWT.
_OBJECT = re.compile(rb"eyJ[A-Za-z0-9+/_-]{17}")
_KEY = re.compile(rb"(BEGIN|END)?[A-Z0-9 ]*PRIVATE KEY-----")
# The lines of the longest key: one of RSA with 16,384 bits has 195.
_LINES_OF_KEY = 200
# A line that may be a part of a key.
_CODED = re.compile(rb"[A-Za-z0-9+/_-]{32}|[A-Za-z0-9+/=]{16,}\s*$")
# A line at whose end a token may have been wrapped, and one on which nothing else is, apart from
# what a journal puts before it.
_WRAPPED = re.compile(rb"(?:sk-ant-|eyJ)[A-Za-z0-9+/=_.-]*[\\\"']*\s*$")
_GOES_ON = re.compile(rb"(?:\S+ \S+ \S+: |[\s\"']*)[A-Za-z0-9+/=_.-]+[\\\"']*\s*$")
_TIME = re.compile(rb"\d{4}-\d\d-\d\dT[\d:.]+[+-]\d{4} ")
_PRINTABLE = frozenset(string.printable.encode())


class Search:
    """The pieces of all secrets of a host."""

    def __init__(self, known: Known) -> None:
        public = set(_pieces(known.public))
        self._owner: dict[bytes, str] = {}
        for secret in known.secrets:
            for piece in _pieces(secret.values):
                if piece not in public:
                    self._owner.setdefault(piece, secret.name)
        #: The secrets that are looked for.
        self.names = sorted({secret.name for secret in known.secrets})

    def found(self, haystack: bytes) -> list[str]:
        """The names of the secrets of which a part is in *haystack*, sorted."""
        owner = self._owner
        found = {
            owner[reading[at : at + PIECE]]
            for reading in _readings(haystack)
            for at in range(0, len(reading) - PIECE + 1, PIECE)
            if reading[at : at + PIECE] in owner
        }
        if not found and _has_shape(haystack):
            found = {SHAPE}
        return sorted(found)


def blanked(content: bytes) -> tuple[bytes, int]:
    """The content without the lines that are SHAPE, or may belong to it; and how many those were.

    The time of such a line stays.
    """
    lines = content.splitlines(keepends=True)
    hits = {*_of_tokens(lines), *_of_keys(lines)}
    text = f"(blanked: {SHAPE})".encode()
    for number in hits:
        time = _TIME.match(lines[number])
        end = lines[number][len(lines[number].rstrip(b"\r\n")) :]
        lines[number] = (time[0] if time else b"") + text + end
    return b"".join(lines), len(hits)


def _of_tokens(lines: list[bytes]) -> set[int]:
    """The lines that have the form of a secret, and those on which a wrapped token goes on."""
    hits: set[int] = set()
    for number, line in enumerate(lines):
        if number not in hits and _has_shape(line):
            hits.add(number)
            if _WRAPPED.search(line):
                after = range(number + 1, len(lines))
                hits.update(takewhile(lambda at: bool(_GOES_ON.match(lines[at])), after))
    return hits


def _of_keys(lines: list[bytes]) -> Iterator[int]:
    """The lines that look like a part of a key, between its marks, or near one without the other.

    Other lines stay: with two short lines, nobody hides what was logged between them.
    """
    marks = {n: [mark[1] for mark in _KEY.finditer(line)] for n, line in enumerate(lines)}
    begins = [number for number, found in marks.items() if found and found[-1] != b"END"]
    ends = [number for number, found in marks.items() if found and found[0] != b"BEGIN"]
    whole, near = _Spans(len(lines)), _Spans(len(lines))
    for number in begins:
        at = bisect_right(ends, number)
        last = ends[at] if at < len(ends) else number + _LINES_OF_KEY + 1
        is_closed = last - number <= _LINES_OF_KEY
        (whole if is_closed else near).add(number, last if is_closed else number + _LINES_OF_KEY)
    for number in ends:
        at = bisect_left(begins, number)
        if at == 0 or number - begins[at - 1] > _LINES_OF_KEY:
            near.add(number - _LINES_OF_KEY, number)
    for number, (is_inside, is_near) in enumerate(zip(whole.covered(), near.covered())):
        is_coded = (is_inside or is_near) and _CODED.search(lines[number])
        if is_coded or (is_inside and _GOES_ON.match(lines[number])):
            yield number


class _Spans:
    """Spans of the numbers below *size*, which may overlap."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._changes = [0] * (size + 1)

    def add(self, first: int, last: int) -> None:
        """Adds the span from *first* to *last*, both included; what is not below size is cut."""
        self._changes[max(first, 0)] += 1
        self._changes[min(last + 1, self._size)] -= 1

    def covered(self) -> Iterator[bool]:
        """Of each number, whether a span has it."""
        return map(bool, accumulate(self._changes[: self._size]))


def _pieces(values: Iterable[bytes]) -> Iterator[bytes]:
    for value in values:
        for form in _forms(value):
            plain = _joined(form)
            yield from (plain[at : at + PIECE] for at in range(len(plain) - PIECE + 1))


def _forms(value: bytes) -> Iterator[bytes]:
    yield value
    yield value.hex().encode()
    # Four characters stand for three bytes: the first ones depend on the bytes before.
    for shift, foreign in enumerate((0, 2, 3)):
        yield base64.b64encode(b"\0" * shift + value)[foreign:]


def _readings(haystack: bytes) -> Iterator[bytes]:
    yield _joined(haystack)
    yield _joined(_OF_HEX.sub(b"", haystack)).lower()
    if b"%" in haystack:
        yield _joined(unquote_to_bytes(haystack))
    if b"\\" in haystack:
        yield _joined(_ESCAPE.sub(lambda found: bytes.fromhex(found[1].decode()), haystack))


def _joined(text: bytes) -> bytes:
    return text.translate(None, _BETWEEN)


def _has_shape(haystack: bytes) -> bool:
    """Whether something in it has the form of a key, a token, or a JWT."""
    if _KEY_OR_ACCESS.search(haystack):
        return True
    return any(map(_is_object, _OBJECT.findall(haystack)))


def _is_object(coded: bytes) -> bool:
    """Whether it begins like text: the same letters occur in base64 of anything, if rarely."""
    try:
        begin = base64.b64decode(coded.translate(bytes.maketrans(b"-_", b"+/")))
    except binascii.Error:
        return False
    return _PRINTABLE.issuperset(begin)
