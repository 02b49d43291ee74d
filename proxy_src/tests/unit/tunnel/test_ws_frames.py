"""The WebSocket layer after its opening handshake, against the server side of the library."""

from __future__ import annotations

import dataclasses
import logging
import struct

from fakes import PLACES, cuts
from hypothesis import example, given
from hypothesis import strategies as st
from mcp_proxy.tunnel.websocket import MAX_FRAME, WebSocketLayer
from websockets.frames import Close, CloseCode, Frame, Opcode
from websockets.protocol import OPEN, Protocol, Side
from websockets.server import ServerProtocol
from websockets.utils import apply_mask

KEY = b"\x01\xa2\x33\xf4"
_HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
_SIZE = "current_size" if hasattr(ServerProtocol(), "current_size") else "cur_size"


class Library(ServerProtocol):
    """The library, made to do what the layer must do: take binary messages of any length."""

    def __init__(self) -> None:
        quiet = logging.getLogger("test.quiet")
        quiet.setLevel(logging.CRITICAL)
        super().__init__(max_size=MAX_FRAME, state=OPEN, logger=quiet)
        self.payload = b""
        self.dropping = False

    def recv_frame(self, frame: Frame) -> None:
        super().recv_frame(frame)
        if getattr(self, _SIZE) is not None:
            setattr(self, _SIZE, 0)
        if frame.opcode is Opcode.TEXT:
            self.fail(CloseCode.UNSUPPORTED_DATA)
        elif frame.opcode in (Opcode.BINARY, Opcode.CONT) and not self.dropping:
            self.payload += frame.data

    def say_goodbye(self) -> None:
        if self.state is OPEN:
            self.send_close(CloseCode.GOING_AWAY)
        self.dropping = True


@dataclasses.dataclass
class Sent:
    """One frame as a client sends it, well-formed or not."""

    first: int
    payload: bytes
    masked: bool = True
    size: int = 0  # bytes of the extended length, if that is not the shortest

    def __bytes__(self) -> bytes:
        length = len(self.payload)
        size = max(self.size, 0 if length < 126 else 2 if length < 65536 else 8)
        second = (0x80 if self.masked else 0) | {0: length, 2: 126, 8: 127}[size]
        extended = {0: b"", 2: struct.pack("!H", length & 65535), 8: struct.pack("!Q", length)}
        body = KEY + apply_mask(self.payload, KEY) if self.masked else self.payload
        return bytes((self.first, second)) + extended[size] + body


GOOD = st.builds(
    Sent,
    st.sampled_from((0x82, 0x02, 0x80, 0x00, 0x89, 0x8A)),
    st.binary(max_size=125),
    size=st.sampled_from((0, 0, 0, 2, 8)),
)
LARGE = st.builds(
    lambda first, byte, length: Sent(first, byte * length),
    st.sampled_from((0x82, 0x02, 0x00, 0x80)),
    st.binary(min_size=1, max_size=1),
    st.sampled_from((126, 65535, 65536, MAX_FRAME, MAX_FRAME + 1)),
)
CLOSES = st.one_of(
    st.binary(max_size=4),
    st.builds(
        lambda code, reason: struct.pack("!H", code) + reason,
        st.sampled_from((999, 1000, 1001, 1004, 1005, 1006, 1015, 2999, 3000, 4999, 5000)),
        st.binary(max_size=123),
    ),
)
FRAMES = st.one_of(
    GOOD,
    GOOD,
    GOOD,
    LARGE,
    st.builds(Sent, st.just(0x88), CLOSES),
    st.builds(Sent, st.integers(0, 255), st.binary(max_size=130), st.booleans()),
)


def said(data: bytes) -> list[tuple[Opcode, object]]:
    """Frames that a client reads in *data*; of a close frame the status: reasons are for people."""
    reader = Protocol(Side.CLIENT, state=OPEN, max_size=None)
    reader.receive_data(data)
    frames = [event for event in reader.events_received() if isinstance(event, Frame)]
    assert all(frame.fin for frame in frames)
    return [
        (frame.opcode, Close.parse(frame.data).code if frame.opcode is Opcode.CLOSE else frame.data)
        for frame in frames
    ]


def opened() -> WebSocketLayer:
    layer = WebSocketLayer()
    layer.receive(_HANDSHAKE)
    assert layer.output().startswith(b"HTTP/1.1 101 ")
    return layer


@given(
    st.lists(FRAMES, max_size=6),
    st.lists(FRAMES, max_size=3),
    st.booleans(),
    PLACES,
)
@example([Sent(0x02, b"a"), Sent(0x88, b"\x03\xe8")], [], False, [])
@example([Sent(0x02, b"a"), Sent(0x88, b"\x03\xe8\xff")], [], False, [])
@example([Sent(0x82, b"a" * 126, size=8), Sent(0xF1, b"")], [], True, [3])
def test_the_layer_and_the_library_agree(
    before: list[Sent], after: list[Sent], goodbye: bool, places: list[int]
) -> None:
    layer, library = opened(), Library()
    received = answer = b""
    for frames in (before, after):
        data = b"".join(map(bytes, frames))
        for part in cuts(data, places):
            received += b"".join(layer.receive(memoryview(part)))
            answer += layer.output()
        library.receive_data(data)
        if frames is before and goodbye:
            layer.close(CloseCode.GOING_AWAY)
            library.say_goodbye()
    answer += layer.output()
    assert received == library.payload
    assert said(answer) == said(b"".join(library.data_to_send()))
    assert layer.closed == library.eof_sent
    assert layer.closing == (library.state is not OPEN)


@given(st.lists(GOOD, max_size=4), PLACES)
def test_frames_may_follow_the_handshake_in_the_same_read(
    frames: list[Sent], places: list[int]
) -> None:
    layer, library = WebSocketLayer(), Library()
    data = b"".join(map(bytes, frames))
    received = b"".join(
        piece for part in cuts(_HANDSHAKE + data, places) for piece in layer.receive(part)
    )
    library.receive_data(data)
    assert received == library.payload


def test_payload_does_not_wait_for_the_end_of_its_frame() -> None:
    layer = opened()
    frame = bytes(Sent(0x82, b"payload"))
    assert b"".join(layer.receive(frame[:-3])) == b"payl"
    assert b"".join(layer.receive(frame[-3:])) == b"oad"


def test_a_frame_is_refused_before_it_has_come() -> None:
    layer = opened()
    layer.receive(bytes(Sent(0x82, bytes(MAX_FRAME + 1)))[:14])
    assert said(layer.output()) == [(Opcode.CLOSE, CloseCode.MESSAGE_TOO_BIG)]
    assert layer.closed
