"""The frames of an open WebSocket, against those of the library; and in any pieces."""

from __future__ import annotations

import logging
import struct

from inputs import pieces
from mcp_proxy.tunnel.websocket import MAX_FRAME, WebSocketLayer
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

_OPENING = (
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
_QUIET = logging.getLogger("fuzz.quiet")
_QUIET.setLevel(logging.CRITICAL)
_SIZE = "current_size" if hasattr(ServerProtocol(), "current_size") else "cur_size"


class _Library(ServerProtocol):
    """Takes messages of any length, if binary."""

    def __init__(self) -> None:
        super().__init__(max_size=MAX_FRAME, state=OPEN, logger=_QUIET)
        self.payload = b""
        self.pongs: list[bytes] = []

    def recv_frame(self, frame: Frame) -> None:
        super().recv_frame(frame)
        if getattr(self, _SIZE) is not None:
            setattr(self, _SIZE, 0)
        if frame.opcode is Opcode.TEXT:
            self.fail(CloseCode.UNSUPPORTED_DATA)
        elif frame.opcode in (Opcode.BINARY, Opcode.CONT):
            self.payload += frame.data


def _run(parts: list[bytes]) -> tuple[bytes, list[tuple[int, bytes]], bool, bool]:
    layer = WebSocketLayer()
    layer.receive(_OPENING)
    layer.output()
    payload = output = b""
    for part in parts:
        payload += b"".join(layer.receive(part))
        output += layer.output()
        assert not (layer.closed and not layer.closing)
    return payload, _frames(output), layer.closing, layer.closed


def _frames(data: bytes) -> list[tuple[int, bytes]]:
    """Control frames, well-formed: whole, unmasked, no longer than they may be."""
    found = []
    while data:
        assert data[0] in (0x88, 0x8A), data
        assert data[1] < 126, data
        end = 2 + data[1]
        assert len(data) >= end, data
        found.append((data[0] & 15, data[2:end]))
        data = data[end:]
    # Nothing follows a close frame.
    assert all(opcode != Opcode.CLOSE for opcode, _ in found[:-1])
    return found


def one_input(data: bytes) -> None:
    """*data* is what a client sends, after a byte that says in which pieces."""
    if len(data) < 2:
        return
    whole = _run([data[1:]])
    assert _run(pieces(data[1:], data[0])) == whole
    payload, sent, closing, _ = whole

    library = _Library()
    library.receive_data(data[1:])
    # The library keeps a frame until it is complete.
    assert payload.startswith(library.payload)
    assert len(payload) - len(library.payload) < MAX_FRAME
    theirs = b"".join(library.data_to_send())
    pongs = [item for item in sent if item[0] == Opcode.PONG]
    assert pongs == [item for item in _frames(theirs) if item[0] == Opcode.PONG]
    if not closing and library.state is not OPEN:
        # It finds a length that is too large before the mask has come.
        _, sent, closing, _ = _run([data[1:] + bytes(4)])
        assert closing
    if closing:
        assert sent[-1][0] == Opcode.CLOSE
        if library.state is not OPEN:  # it finds some faults at the end of a frame only
            assert _status(sent[-1][1]) == _status(_frames(theirs)[-1][1])
    else:
        assert library.state is OPEN
        assert len(theirs) == sum(2 + len(item[1]) for item in sent)


def _status(payload: bytes) -> int | None:
    return struct.unpack("!H", payload[:2])[0] if payload else None
