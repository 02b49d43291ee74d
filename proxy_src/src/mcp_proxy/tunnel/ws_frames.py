"""Frames of an open WebSocket, the server's side (RFC 6455 §5), sans-IO: bytes in, payload out.

Every byte of the tunnel passes here, so this work is not left to the library. The tests compare the
two. Payload is passed on in pieces, as it comes: nothing waits
for a frame's end.
"""

from __future__ import annotations

from typing import Final, Union

from websockets.frames import CloseCode, Opcode

try:
    from websockets.speedups import apply_mask
except ImportError:
    from websockets.utils import apply_mask

Buffer = Union[bytes, bytearray, memoryview]

MAX_FRAME: Final = 1 << 20
"""Largest frame taken, in bytes."""

_FIN: Final = 0x80
_RESERVED: Final = 0x70
_BINARY: Final = _FIN | int(Opcode.BINARY)
_MASKED: Final = 0x80
_CONTROL: Final = 0x08
_MAX_CONTROL: Final = 125
# An enum's members are slower to compare.
_TEXT: Final = int(Opcode.TEXT)
_CLOSE: Final = int(Opcode.CLOSE)
_KNOWN: Final = frozenset(map(int, Opcode))


def websocket_frame_header(length: int, first: int = _BINARY) -> bytes:
    """Return the header of a frame: *first* is its first byte, *length* the size of its payload."""
    if length < 126:
        return bytes((first, length))
    if length < 65536:
        return bytes((first, 126, length >> 8, length & 255))
    return bytes((first, 127)) + length.to_bytes(8, "big")


class WebSocketFrameReader:
    """Parses a client's frames.

    ``controls`` collects (opcode, payload) of control frames; its owner empties it. Nothing more
    comes out after a close frame, or once ``failure`` is the status with which to fail the
    connection. ``continued`` tells whether the last message goes on in another frame. ``behind``
    tells whether :meth:`feed` has stopped before the end of what it got.
    """

    __slots__ = ("_begun", "_left", "_mask", "behind", "continued", "controls", "failure", "over")

    def __init__(self) -> None:
        self.controls: list[tuple[int, bytes]] = []
        self.continued = False
        self.failure: CloseCode | None = None
        self.over = False
        self.behind = False
        self._begun = b""  # an incomplete header or control frame, or all that is left
        self._left = 0  # bytes of the data frame in progress still to come
        self._mask = b""

    def feed(self, data: Buffer, most: int = 1 << 30) -> list[bytes]:
        """Return the payload of data frames in *data*, unmasked, in pieces of any size.

        Stops after *most* frames; the next call goes on there.
        """
        pieces: list[bytes] = []
        if self._begun:
            data = self._begun + bytes(data)
            self._begun = b""
            self.behind = False
        at, end = 0, len(data)
        while at < end and not self.over:
            if not self._left:
                most -= 1
                if most < 0:
                    self._begun = bytes(data[at:])
                    self.behind = True
                    break
                start = self._header(data, at, end)
                if not start:
                    self._begun = bytes(data[at:])
                    break
                at = start
                if not self._left:
                    continue
            stop = at + self._left
            if stop > end:
                self._left = stop - end
                stop = end
                pieces.append(apply_mask(data[at:stop], self._mask))
                turn = (stop - at) & 3
                self._mask = self._mask[turn:] + self._mask[:turn]
            else:
                self._left = 0
                pieces.append(apply_mask(data[at:stop], self._mask))
            at = stop
        return pieces

    def _header(self, data: Buffer, at: int, end: int) -> int:
        """Take the header at *at*, and all of a control frame.

        Returns where what was taken ends, 0 if it is incomplete. The order of the checks is the
        library's: it decides which status a frame with two faults is answered with.
        """
        if end - at < 2:
            return 0
        first, second = data[at], data[at + 1]
        opcode, length = first & 15, second & 127
        if opcode not in _KNOWN or second < _MASKED:
            return self._fail(CloseCode.PROTOCOL_ERROR, end)
        mask = at + (2 if length < 126 else 4 if length == 126 else 10)
        start = mask + 4
        if start > end:
            return 0
        if length > 125:
            length = int.from_bytes(data[at + 2 : mask], "big")
            if length > MAX_FRAME:
                return self._fail(CloseCode.MESSAGE_TOO_BIG, end)
        if first == _BINARY and not self.continued:  # most are
            self._mask = bytes(data[mask:start])
            self._left = length
            return start
        if first & _RESERVED:
            return self._fail(CloseCode.PROTOCOL_ERROR, end)
        if opcode & _CONTROL:
            if length > _MAX_CONTROL or not first & _FIN:
                return self._fail(CloseCode.PROTOCOL_ERROR, end)
            stop = start + length
            if stop > end:
                return 0
            self.controls.append((opcode, apply_mask(data[start:stop], bytes(data[mask:start]))))
            self.over = opcode == _CLOSE
            return stop
        if (opcode == 0) is not self.continued:
            return self._fail(CloseCode.PROTOCOL_ERROR, end)
        if opcode == _TEXT:
            return self._fail(CloseCode.UNSUPPORTED_DATA, end)
        self.continued = first < _FIN
        self._mask = bytes(data[mask:start])
        self._left = length
        return start

    def _fail(self, code: CloseCode, end: int) -> int:
        self.failure = code
        self.over = True
        return end
