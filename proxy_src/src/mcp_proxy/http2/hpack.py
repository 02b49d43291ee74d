"""Compression of header fields (RFC 7541), as far as a server needs it.

Towards the client nothing is put into a dynamic table and nothing is Huffman-coded: that costs some
hundred bytes per response, and saves most of the time.
"""

from __future__ import annotations

from collections import deque
from functools import cache, lru_cache
from typing import Callable, Final, Generic, TypeVar

from hpack.exceptions import HPACKDecodingError
from hpack.huffman_table import decode_huffman

from .frames import ConnectionFault, ErrorCode

_Entry = TypeVar("_Entry")
_Row = tuple[bytes, bytes, int, _Entry]  # name, value, size as of RFC 7541 §4.1, what it means

_MAX_RESIZES: Final = 2
"""Changes of the table's size at the start of a block: the smallest of all, and the last (§4.2)."""

_TABLE: Final = 4096
"""Bytes of the dynamic table, the protocol's default: nothing else is announced."""

# RFC 7541, Appendix A.
_STATIC: Final[tuple[tuple[bytes, bytes], ...]] = (
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    (b"accept-language", b""),
    (b"accept-ranges", b""),
    (b"accept", b""),
    (b"access-control-allow-origin", b""),
    (b"age", b""),
    (b"allow", b""),
    (b"authorization", b""),
    (b"cache-control", b""),
    (b"content-disposition", b""),
    (b"content-encoding", b""),
    (b"content-language", b""),
    (b"content-length", b""),
    (b"content-location", b""),
    (b"content-range", b""),
    (b"content-type", b""),
    (b"cookie", b""),
    (b"date", b""),
    (b"etag", b""),
    (b"expect", b""),
    (b"expires", b""),
    (b"from", b""),
    (b"host", b""),
    (b"if-match", b""),
    (b"if-modified-since", b""),
    (b"if-none-match", b""),
    (b"if-range", b""),
    (b"if-unmodified-since", b""),
    (b"last-modified", b""),
    (b"link", b""),
    (b"location", b""),
    (b"max-forwards", b""),
    (b"proxy-authenticate", b""),
    (b"proxy-authorization", b""),
    (b"range", b""),
    (b"referer", b""),
    (b"refresh", b""),
    (b"retry-after", b""),
    (b"server", b""),
    (b"set-cookie", b""),
    (b"strict-transport-security", b""),
    (b"transfer-encoding", b""),
    (b"user-agent", b""),
    (b"vary", b""),
    (b"via", b""),
    (b"www-authenticate", b""),
)
_NAMES: Final = {name: index for index, (name, dummy) in reversed(list(enumerate(_STATIC, 1)))}
_STATUSES: Final = {
    int(value): bytes((0x80 | index,))
    for index, (name, value) in enumerate(_STATIC, 1)
    if name == b":status"
}
EMPTY_TABLE: Final = b"\x20"
"""Begins the first block that is sent: whatever the peer allows, no table is used (§4.2, §6.3)."""


def _bad(text: str) -> ConnectionFault:
    return ConnectionFault(ErrorCode.COMPRESSION_ERROR, text)


def _row(name: bytes, value: bytes, interpret: Callable[[bytes, bytes], _Entry]) -> _Row[_Entry]:
    return name, value, len(name) + len(value) + 32, interpret(name, value)


@cache
def _static_rows(interpret: Callable[[bytes, bytes], _Entry]) -> list[_Row[_Entry]]:
    """The static table, once for all connections."""
    return [_row(name, value, interpret) for name, value in _STATIC]


class Decoder(Generic[_Entry]):
    """The client's header blocks of one connection.

    The meaning of a field is worked out once, when it is first sent: *interpret* turns its name and
    value into what :meth:`decode` returns, however often the field is repeated out of the table.
    """

    def __init__(self, interpret: Callable[[bytes, bytes], _Entry], max_list: int) -> None:
        """*max_list* bounds the size of a decoded list as of RFC 9113 §10.5.1."""
        self._interpret = interpret
        self._max_list = max_list
        self._static = _static_rows(interpret)
        self._table: deque[_Row[_Entry]] = deque()
        self._size = 0
        self._max_size = _TABLE

    def decode(self, block: bytes) -> tuple[list[_Entry], int]:
        """The fields of *block*, and the size of the list. Raises :class:`ConnectionFault`."""
        try:
            return self._decode(block)
        except IndexError:
            raise _bad("header block ends too early") from None

    def _decode(self, block: bytes) -> tuple[list[_Entry], int]:
        found: list[_Entry] = []
        size = position = resizes = 0
        while position < len(block):
            first = block[position]
            if first > 0x80 and first <= 0x80 | len(_STATIC):
                row = self._static[first - 0x81]
                position += 1
            elif first & 0x80:
                index, position = _integer(block, position, 0x7F)
                row = self._lookup(index)
            elif first & 0x60 == 0x20:
                if found:
                    raise _bad("table size changed inside a block")
                resizes += 1
                if resizes > _MAX_RESIZES:
                    raise _bad("table size changed too often")
                position = self._resize(block, position)
                continue
            else:
                index, position = _integer(block, position, 0x3F if first & 0x40 else 0x0F)
                if index:
                    name = self._lookup(index)[0]
                else:
                    name, position = _string(block, position)
                value, position = _string(block, position)
                row = _row(name, value, self._interpret)
                if first & 0x40:
                    self._insert(row)
            size += row[2]
            if size > self._max_list:
                raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "header list too large")
            found.append(row[3])
        return found, size

    def _lookup(self, index: int) -> _Row[_Entry]:
        if index > len(_STATIC):
            index -= len(_STATIC) + 1
            if index >= len(self._table):
                raise _bad("no such index")
            return self._table[index]
        if not index:
            raise _bad("index 0")
        return self._static[index - 1]

    def _insert(self, row: _Row[_Entry]) -> None:
        self._table.appendleft(row)
        self._size += row[2]
        self._evict()

    def _evict(self) -> None:
        while self._size > self._max_size:
            self._size -= self._table.pop()[2]

    def _resize(self, block: bytes, position: int) -> int:
        self._max_size, position = _integer(block, position, 0x1F)
        if self._max_size > _TABLE:
            raise _bad("table larger than allowed")
        self._evict()
        return position


def _integer(block: bytes, position: int, prefix: int) -> tuple[int, int]:
    """The integer at *position* (§5.1) and where it ends; *prefix* masks its first byte."""
    value = block[position] & prefix
    position += 1
    if value < prefix:
        return value, position
    for shift in (0, 7, 14, 21):
        byte = block[position]
        position += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise _bad("integer too large")


def _string(block: bytes, position: int) -> tuple[bytes, int]:
    """The string at *position* (§5.2) and where it ends."""
    coded = block[position] & 0x80
    length, position = _integer(block, position, 0x7F)
    end = position + length
    if end > len(block):
        raise _bad("string ends too early")
    text = block[position:end]
    if coded:
        try:
            # A copy: what the library returns may be another kind of bytes.
            text = bytes(decode_huffman(text))
        except HPACKDecodingError:
            raise _bad("bad Huffman code") from None
    return text, end


def _length(first: int, prefix: int, value: int) -> bytes:
    if value < prefix:
        return bytes((first | value,))
    coded = bytearray((first | prefix,))
    value -= prefix
    while value >= 0x80:
        coded.append(0x80 | value & 0x7F)
        value >>= 7
    coded.append(value)
    return bytes(coded)


@lru_cache(maxsize=1024)
def _name(name: bytes) -> bytes:
    name = name.lower()
    index = _NAMES.get(name)
    return _length(0, 0x0F, index) if index else b"\0" + _length(0, 0x7F, len(name)) + name


_LENGTHS: Final = [_length(0, 0x7F, length) for length in range(256)]


def encode(status: int | None, fields: list[tuple[bytes, bytes]]) -> bytes:
    """A header block: *status* if there is one, and *fields* with their names in lower case."""
    parts = []
    if status is not None:
        parts.append(_STATUSES.get(status) or b"\x08\x03%d" % status)
    for name, value in fields:
        size = len(value)
        parts += (_name(name), _LENGTHS[size] if size < 256 else _length(0, 0x7F, size), value)
    return b"".join(parts)
