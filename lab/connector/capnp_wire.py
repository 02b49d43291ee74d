"""The little of Cap'n Proto's encoding that the connector needs: small single-segment messages.

Written out instead of using pycapnp because the connector must be one file that runs on a bare
host under any Python; the edge uses pycapnp, so each end checks the other.
Source of the rules: the Cap'n Proto encoding specification.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Union

_WORD = 8
_TEXT_END = b"\0"


class WireError(ValueError):
    """A message that this decoder cannot read."""


@dataclass(frozen=True)
class Struct:
    """A struct to encode: its data section (padded to words here) and its pointers in order."""

    data: bytes = b""
    pointers: tuple[Pointer, ...] = ()


@dataclass(frozen=True)
class Text:
    """A text, encoded with the final NUL byte that Cap'n Proto demands."""

    value: str


Pointer = Union[None, bytes, Text, Struct]


def encode(root: Struct) -> bytes:
    """Return the framed message with `root` as its root struct."""
    segment = bytearray(_WORD)
    _put(segment, 0, root)
    return struct.pack("<II", 0, len(segment) // _WORD) + bytes(segment)


def _put(segment: bytearray, at: int, value: Pointer) -> None:
    if value is None:
        return
    target = len(segment)
    offset = (target - at) // _WORD - 1
    if isinstance(value, Struct):
        words = -(-len(value.data) // _WORD)
        if not words and not value.pointers:
            offset = -1
        _pointer(segment, at, offset << 2, words | len(value.pointers) << 16)
        _put_struct(segment, target, value, words)
    elif isinstance(value, Text):
        _put_bytes(segment, at, offset, value.value.encode() + _TEXT_END)
    else:
        _put_bytes(segment, at, offset, value)


def _put_struct(segment: bytearray, target: int, value: Struct, words: int) -> None:
    segment.extend(value.data.ljust(words * _WORD, b"\0"))
    segment.extend(bytes(_WORD * len(value.pointers)))
    for index, pointer in enumerate(value.pointers):
        _put(segment, target + (words + index) * _WORD, pointer)


def _put_bytes(segment: bytearray, at: int, offset: int, value: bytes) -> None:
    _pointer(segment, at, offset << 2 | 1, len(value) << 3 | 2)
    segment.extend(value.ljust(-(-len(value) // _WORD) * _WORD, b"\0"))


def _pointer(segment: bytearray, at: int, low: int, high: int) -> None:
    segment[at : at + _WORD] = struct.pack("<iI", low, high)


class Reader:
    """A struct inside a received message. Missing fields read as zero, missing pointers as None."""

    def __init__(self, segment: bytes, start: int, words: int, pointers: int) -> None:
        self._segment = segment
        self._start = start
        self._data_end = start + words * _WORD
        self._pointers = pointers

    def number(self, offset: int, size: int) -> int:
        """Unsigned integer of `size` bytes at byte `offset` of the data section."""
        at = self._start + offset
        return int.from_bytes(self._segment[at : min(at + size, self._data_end)], "little")

    def struct(self, index: int) -> Reader | None:
        """The struct behind pointer `index`, None if the pointer is null."""
        found = self._follow(index)
        if found is None:
            return None
        kind, target, high = found
        if kind != 0:
            raise WireError(f"pointer {index} is not a struct")
        return Reader(self._segment, target, high & 0xFFFF, high >> 16)

    def blob(self, index: int) -> bytes:
        """The bytes behind pointer `index`, empty if the pointer is null."""
        found = self._follow(index)
        if found is None:
            return b""
        kind, target, high = found
        if kind != 1 or high & 7 != 2:
            raise WireError(f"pointer {index} is not a byte list")
        return self._segment[target : target + (high >> 3)]

    def text(self, index: int) -> str:
        """The text behind pointer `index`, empty if the pointer is null."""
        return self.blob(index)[:-1].decode(errors="replace")

    def _follow(self, index: int) -> tuple[int, int, int] | None:
        if index >= self._pointers:
            return None
        at = self._data_end + index * _WORD
        low, high = struct.unpack_from("<iI", self._segment, at)
        if low == 0 and high == 0:
            return None
        if low & 3 > 1:
            raise WireError("far pointers and capabilities are not supported here")
        return low & 3, at + _WORD + (low >> 2) * _WORD, high


def decode(buffer: bytearray) -> Reader | None:
    """Take one framed message off `buffer`; None when it is not complete yet."""
    if len(buffer) < _WORD:
        return None
    segments, words = struct.unpack_from("<II", buffer)
    if segments != 0:
        raise WireError("a message in several segments is not supported here")
    end = _WORD + words * _WORD
    if len(buffer) < end:
        return None
    segment = bytes(buffer[_WORD:end])
    del buffer[:end]
    holder = Reader(segment, 0, 0, 1)
    root = holder.struct(0)
    if root is None:
        raise WireError("message without a root")
    return root
