"""WebSocket framing for both ends of the benchmark (RFC 6455 §5), without sockets.

Only what a byte tunnel needs: payloads are passed on in pieces as they come,
whatever message or fragment they belong to.
"""

from __future__ import annotations

import os

from websockets.speedups import apply_mask

PING, PONG, CLOSE = 0x9, 0xA, 0x8
_BINARY = 0x82  # FIN and opcode 2
_MASKED = 0x80


class FrameReader:
    """Takes a byte stream apart.

    ``controls`` collects (opcode, payload) of control frames; its owner empties it.
    """

    def __init__(self) -> None:
        self.controls: list[tuple[int, bytes]] = []
        self._rest = b""
        self._left = 0  # bytes of the current data frame still to come
        self._mask = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Unmasked payload pieces of the data frames in ``data``, none of them empty."""
        if self._rest:
            data = self._rest + data
            self._rest = b""
        pieces: list[bytes] = []
        position, end = 0, len(data)
        while position < end:
            if not self._left:
                start = self._header(data, position)
                if start < 0:
                    self._rest = data[position:]
                    break
                position = start
                continue
            stop = min(end, position + self._left)
            piece = data[position:stop]
            if self._mask:
                piece = apply_mask(piece, self._mask)
                turn = (stop - position) & 3
                self._mask = self._mask[turn:] + self._mask[:turn]
            pieces.append(piece)
            self._left -= stop - position
            position = stop
        return pieces

    def _header(self, data: bytes, position: int) -> int:
        """Reads the header at ``position`` (a control frame: all of it).

        :return: where the payload starts, or after a control frame its end; -1: more is needed
        """
        have = len(data) - position
        if have < 2:
            return -1
        opcode, second = data[position] & 15, data[position + 1]
        length = second & 127
        size = 2 if length < 126 else 4 if length == 126 else 10
        head = size + (4 if second & _MASKED else 0)
        if have < head:
            return -1
        if size > 2:
            length = int.from_bytes(data[position + 2 : position + size], "big")
        start = position + head
        mask = data[position + size : start]
        if opcode < 8:
            self._mask, self._left = mask, length
            return start
        if have < head + length:
            return -1
        payload = data[start : start + length]
        self.controls.append((opcode, apply_mask(payload, mask) if mask else payload))
        return start + length


def server_header(length: int, first: int = _BINARY) -> bytes:
    """Header of an unmasked frame with ``length`` bytes."""
    if length < 126:
        return bytes((first, length))
    if length < 65536:
        return bytes((first, 126)) + length.to_bytes(2, "big")
    return bytes((first, 127)) + length.to_bytes(8, "big")


def client_frame(payload: bytes, opcode: int = 2) -> bytes:
    """A whole masked frame."""
    header = bytearray(server_header(len(payload), 0x80 | opcode))
    header[1] |= _MASKED
    mask = os.urandom(4)
    return bytes(header) + mask + apply_mask(payload, mask)
