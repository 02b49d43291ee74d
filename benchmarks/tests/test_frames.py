"""The rival's framing against the websockets library, cut at every place."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from benchmarks.rivals.frames import CLOSE, PING, FrameReader, client_frame, server_header

_PAYLOADS = st.lists(st.sampled_from([0, 1, 5, 125, 126, 127, 65535, 65536, 70001]), max_size=4)
_CUTS = st.lists(st.integers(1, 40000), max_size=8)


def _feed(reader: FrameReader, data: bytes, cuts: list[int]) -> bytes:
    out = b""
    for cut in [*cuts, len(data)]:
        out += b"".join(reader.feed(data[:cut]))
        data = data[cut:]
    return out


@given(_PAYLOADS, _CUTS, st.booleans())
def test_payload_of_the_librarys_frames(sizes: list[int], cuts: list[int], mask: bool) -> None:
    payloads = [os.urandom(size) for size in sizes]
    data = b"".join(Frame(Opcode.BINARY, p).serialize(mask=mask, extensions=[]) for p in payloads)
    ping = Frame(Opcode.PING, b"still there?").serialize(mask=mask, extensions=[])
    reader = FrameReader()
    assert _feed(reader, ping + data + ping, cuts) == b"".join(payloads)
    assert reader.controls == [(PING, b"still there?")] * 2


@given(_PAYLOADS, _CUTS)
def test_our_frames_are_read_back(sizes: list[int], cuts: list[int]) -> None:
    payloads = [os.urandom(size) for size in sizes]
    masked = b"".join(map(client_frame, payloads)) + client_frame(b"\x03\xe8", CLOSE)
    plain = b"".join(server_header(len(p)) + p for p in payloads)
    for data in (masked, plain):
        assert _feed(FrameReader(), data, cuts) == b"".join(payloads)
    reader = FrameReader()
    reader.feed(masked)
    assert reader.controls == [(CLOSE, b"\x03\xe8")]


def test_server_header_is_the_librarys() -> None:
    for size in (0, 125, 126, 65535, 65536):
        frame = Frame(Opcode.BINARY, bytes(size)).serialize(mask=False, extensions=[])
        assert server_header(size) == frame[: len(frame) - size]
