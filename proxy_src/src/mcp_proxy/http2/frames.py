"""Frames of HTTP/2 (RFC 9113 §4, §6): bytes in, frames out, and back. Knows no stream."""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator
from typing import Final

DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
WITH_PRIORITY: Final = 0x20

MAX_PAYLOAD: Final = 1 << 14
"""Bytes of a frame's payload in either direction: every peer takes that much (§4.2)."""
MAX_WINDOW: Final = (1 << 31) - 1

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEADER: Final = struct.Struct(">BHBBL")
_SETTING: Final = struct.Struct(">HL")
_WORD: Final = struct.Struct(">L")


class ErrorCode(enum.IntEnum):
    """Why a stream or the connection ends (RFC 9113 §7)."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    ENHANCE_YOUR_CALM = 0xB


class ConnectionFault(Exception):
    """A fault of the peer that ends the connection (§5.4.1)."""

    def __init__(self, code: ErrorCode, text: str) -> None:
        super().__init__(text)
        self.code = code


class StreamFault(Exception):
    """A fault of the peer that ends the stream that the frame belongs to (§5.4.2)."""

    def __init__(self, code: ErrorCode) -> None:
        super().__init__(code.name)
        self.code = code


def protocol_error(text: str) -> ConnectionFault:
    """The fault that has no more precise code."""
    return ConnectionFault(ErrorCode.PROTOCOL_ERROR, text)


def frame(kind: int, flags: int, number: int, payload: bytes = b"") -> bytes:
    """A frame of the stream *number*."""
    size = len(payload)
    return _HEADER.pack(size >> 16, size & 0xFFFF, kind, flags, number) + payload


def frame_header(kind: int, flags: int, number: int, size: int) -> bytes:
    """The header of a frame whose payload of *size* bytes is sent separately."""
    return _HEADER.pack(size >> 16, size & 0xFFFF, kind, flags, number)


def window_update(number: int, increment: int) -> bytes:
    """Allows the peer *increment* bytes more on the stream *number*, or on the connection (0)."""
    return frame(WINDOW_UPDATE, 0, number, _WORD.pack(increment))


def rst_stream(number: int, code: ErrorCode) -> bytes:
    """Gives the stream *number* up."""
    return frame(RST_STREAM, 0, number, _WORD.pack(code))


def goaway(last: int, code: ErrorCode, text: str = "") -> bytes:
    """Says that no stream after *last* was looked at."""
    return frame(GOAWAY, 0, 0, _WORD.pack(last) + _WORD.pack(code) + text.encode())


def settings(values: dict[int, int]) -> bytes:
    """Announces *values* by their identifiers."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(*item) for item in values.items()))


def word(payload: bytes) -> int:
    """The 31 bits that are the payload of several frames."""
    if len(payload) != 4:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "frame of a wrong size")
    number: int = _WORD.unpack(payload)[0]
    return number & MAX_WINDOW


def setting_items(payload: bytes) -> Iterator[tuple[int, int]]:
    """Identifier and value of each setting."""
    if len(payload) % 6:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS of a wrong size")
    return _SETTING.iter_unpack(payload)


def unpadded(payload: bytes) -> bytes:
    """Return a ``PADDED`` payload without its padding (§6.1)."""
    if not payload or payload[0] >= len(payload):
        raise protocol_error("more padding than payload")
    return payload[1 : len(payload) - payload[0]]


class FrameReader:
    """Takes the client's side of a connection apart, from its preface (§3.4) on."""

    def __init__(self) -> None:
        self._rest = b""
        self._begun = False

    def feed(self, data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
        """Type, flags, stream and payload of each complete frame.

        Raises :class:`ConnectionFault`.
        """
        if self._rest:
            data = self._rest + data
        position = 0
        if not self._begun:
            if not _PREFACE.startswith(data[: len(_PREFACE)]):
                raise protocol_error("no connection preface")
            if len(data) < len(_PREFACE):
                self._rest = data
                return
            self._begun = True
            position = len(_PREFACE)
        end = len(data)
        while end - position >= 9:
            high, low, kind, flags, number = _HEADER.unpack_from(data, position)
            size = high << 16 | low
            if size > MAX_PAYLOAD:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "frame too large")
            after = position + 9 + size
            if after > end:
                break
            yield kind, flags, number & MAX_WINDOW, data[position + 9 : after]
            position = after
        self._rest = data[position:]
