"""A server's duties by RFC 9113 and RFC 7541: each frame, and frames that no peer may send.

Frames are made and read here with hyperframe and hpack, so that the code under test has no part in
judging itself. Each case names the section that its expectation comes from.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from fakes import FakeConnection, Requests
from hpack import Decoder, Encoder, NeverIndexedHeaderTuple
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from mcp_proxy.config.model import Limits
from mcp_proxy.http2.server import Http2Server

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM = ACK = 1
END_HEADERS = 4
PADDED = 8
WITH_PRIORITY = 32
NO_ERROR, PROTOCOL, INTERNAL, FLOW, SETTINGS_TIMEOUT, CLOSED = range(6)
SIZE, REFUSED, CANCEL, COMPRESSION, _, CALM = range(6, 12)
ENABLE_PUSH, STREAMS, WINDOW_SIZE, FRAME_SIZE = 2, 3, 4, 5
MAX_HEADER_BYTES = 4096

Fields = list[tuple[str, str]]
GET: Fields = [
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "echo.t.example"),
    (":path", "/mcp"),
]
POST: Fields = [(":method", "POST"), *GET[1:]]


def raw(kind: int, flags: int, number: int, payload: bytes = b"") -> bytes:
    """A frame as RFC 9113 §4.1 draws it."""
    size = struct.pack(">L", len(payload))[1:]
    return size + bytes((kind, flags)) + struct.pack(">L", number) + payload


def word(value: int) -> bytes:
    return struct.pack(">L", value)


def setting(*items: tuple[int, int]) -> bytes:
    return raw(SETTINGS, 0, 0, b"".join(struct.pack(">HL", *item) for item in items))


def data(number: int, payload: bytes = b"x", flags: int = 0) -> bytes:
    return raw(DATA, flags, number, payload)


def window(number: int, increment: int) -> bytes:
    return raw(WINDOW, 0, number, word(increment))


def rst(number: int, code: int = CANCEL) -> bytes:
    return raw(RST, 0, number, word(code))


class Client:
    """Makes field sections, with one compression context for the connection."""

    def __init__(self) -> None:
        self.encoder = Encoder()

    def block(self, fields: Fields = GET) -> bytes:
        return bytes(self.encoder.encode(fields))

    def head(self, number: int = 1, fields: Fields = GET, flags: int = END_STREAM) -> bytes:
        """A whole field section in one frame."""
        return raw(HEADERS, flags | END_HEADERS, number, self.block(fields))

    def post(self, number: int = 1, *more: tuple[str, str]) -> bytes:
        """A request whose content is still to follow."""
        return self.head(number, [*POST, *more], flags=0)


def one_by_one(frames: bytes) -> list[bytes]:
    """Split *frames*, so that each may be answered before the next one comes."""
    parts = []
    while frames:
        size = 9 + int.from_bytes(frames[:3], "big")
        parts.append(frames[:size])
        frames = frames[size:]
    return parts


@dataclass
class Outcome:
    """The answers of the layer."""

    goaways: list[int] = field(default_factory=list)
    resets: dict[int, int] = field(default_factory=dict)
    answers: dict[int, list[tuple[bytes, bytes]]] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    bodies: dict[int, bytes] = field(default_factory=dict)
    pongs: list[bytes] = field(default_factory=list)
    windows: dict[int, int] = field(default_factory=dict)
    settings: list[SettingsFrame] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)


class Peer:
    """The layer, and its output so far."""

    def __init__(self, answer: bytes | None = b"ok", **limits: int) -> None:
        self.requests = Requests(answer)
        defaults = {"max_header_bytes": MAX_HEADER_BYTES, **limits}
        self.layer = Http2Server(self.requests, FakeConnection(), Limits(**defaults), 5)
        self.outcome = Outcome()
        self._decoder = Decoder()
        self._rest = b""

    def send(self, *parts: bytes) -> Outcome:
        for part in parts:
            if not self.layer.finished:
                self.layer.receive(part)
        return self.fetch()

    def fetch(self) -> Outcome:
        self._rest += b"".join(self.layer.output())
        while len(self._rest) >= 9:
            frame, size = Frame.parse_frame_header(memoryview(self._rest[:9]))
            assert size <= 16384, "§4.2: larger than the client allows"
            frame.parse_body(memoryview(self._rest[9 : 9 + size]))
            self._rest = self._rest[9 + size :]
            self._note(frame)
        assert self._rest == b""
        return self.outcome

    def _note(self, frame: Frame) -> None:
        out = self.outcome
        out.frames.append(frame)
        if isinstance(frame, GoAwayFrame):
            out.goaways.append(frame.error_code)
        elif isinstance(frame, RstStreamFrame):
            assert frame.stream_id not in out.ended, "§5.1: reset after the end"
            out.resets[frame.stream_id] = frame.error_code
        elif isinstance(frame, HeadersFrame):
            fields = self._decoder.decode(frame.data, raw=True)
            out.answers.setdefault(frame.stream_id, []).extend(fields)
        elif isinstance(frame, DataFrame):
            out.bodies[frame.stream_id] = out.bodies.get(frame.stream_id, b"") + frame.data
        elif isinstance(frame, PingFrame):
            assert "ACK" in frame.flags
            out.pongs.append(frame.opaque_data)
        elif isinstance(frame, WindowUpdateFrame):
            assert frame.window_increment > 0
            number = frame.stream_id
            out.windows[number] = out.windows.get(number, 0) + frame.window_increment
        elif isinstance(frame, SettingsFrame):
            out.settings.append(frame)
        if "END_STREAM" in frame.flags:
            assert frame.stream_id not in out.ended
            out.ended.add(frame.stream_id)

    def alive(self) -> bool:
        """Whether a PING and another request are still answered."""
        ping = b"are you?"
        self.send(raw(PING, 0, 0, ping))
        return ping in self.outcome.pongs and not self.layer.finished


def begun(answer: bytes | None = b"ok", **limits: int) -> Peer:
    peer = Peer(answer, **limits)
    peer.send(PREFACE + setting())
    return peer


# -- errors of the connection ---------------------------------------------------------------------

Make = Callable[[Client], bytes]

CONNECTION_ERRORS: dict[str, tuple[int, Make]] = {
    "4.1 unknown type inside a field section": (
        PROTOCOL,
        lambda c: raw(HEADERS, 1, 1, c.block()[:3]) + raw(0xAA, 0, 1),
    ),
    "4.2 DATA larger than allowed": (SIZE, lambda c: c.post() + data(1, bytes(16385))),
    "4.2 HEADERS larger than allowed": (SIZE, lambda c: raw(HEADERS, 5, 1, bytes(16385))),
    "4.2 SETTINGS larger than allowed": (SIZE, lambda c: raw(SETTINGS, 0, 0, bytes(16386))),
    "4.2 unknown type larger than allowed": (SIZE, lambda c: raw(0xAA, 0, 0, bytes(16385))),
    "4.3 bad field section": (COMPRESSION, lambda c: raw(HEADERS, 5, 1, b"\xff\xff\xff\xff\xff")),
    "4.3 DATA inside a field section": (
        PROTOCOL,
        lambda c: c.post(1) + raw(HEADERS, 1, 3, c.block()) + data(1),
    ),
    "4.3 another stream's HEADERS inside a field section": (
        PROTOCOL,
        lambda c: raw(HEADERS, 1, 1, c.block()) + c.head(3),
    ),
    "4.3 PING inside a field section": (
        PROTOCOL,
        lambda c: raw(HEADERS, 1, 1, c.block()) + raw(PING, 0, 0, bytes(8)),
    ),
    "5.1 idle: DATA": (PROTOCOL, lambda c: data(1)),
    "5.1 idle: RST_STREAM": (PROTOCOL, lambda c: rst(1)),
    "5.1 idle: WINDOW_UPDATE": (PROTOCOL, lambda c: window(1, 100)),
    "5.1 idle: CONTINUATION": (PROTOCOL, lambda c: raw(CONTINUATION, 4, 1, c.block())),
    "5.1 idle: DATA of a later stream": (PROTOCOL, lambda c: c.head(1) + data(3)),
    "5.1 closed: DATA after both ends": (CLOSED, lambda c: c.head(1) + data(1)),
    "5.1 closed: HEADERS after both ends": (CLOSED, lambda c: c.head(1) + c.head(1)),
    "5.1 closed: CONTINUATION after both ends": (
        PROTOCOL,
        lambda c: c.head(1) + raw(CONTINUATION, 4, 1, c.block()),
    ),
    "5.1.1 even number": (PROTOCOL, lambda c: c.head(2)),
    "5.1.1 smaller number": (PROTOCOL, lambda c: c.head(5) + c.head(3)),
    "5.1.1 DATA of a number that was skipped": (PROTOCOL, lambda c: c.head(5) + data(3)),
    "5.1.1 DATA of an even number": (PROTOCOL, lambda c: c.head(5) + data(4)),
    "5.3.1 HEADERS depends on itself": (
        PROTOCOL,
        lambda c: raw(HEADERS, 5 | WITH_PRIORITY, 1, word(1) + b"\x10" + c.block()),
    ),
    "5.3.1 PRIORITY depends on itself": (PROTOCOL, lambda c: raw(PRIORITY, 0, 3, word(3) + b"\0")),
    "6.1 DATA of stream 0": (PROTOCOL, lambda c: data(0)),
    "6.1 padding as long as the payload": (
        PROTOCOL,
        lambda c: c.post() + data(1, b"\x05abcd", PADDED),
    ),
    "6.1 padded and empty": (PROTOCOL, lambda c: c.post() + data(1, b"", PADDED)),
    "6.2 HEADERS of stream 0": (PROTOCOL, lambda c: c.head(0)),
    "6.2 padding as long as the payload": (
        PROTOCOL,
        lambda c: raw(HEADERS, 5 | PADDED, 1, b"\x40" + c.block()),
    ),
    "6.2 no room for the priority": (SIZE, lambda c: raw(HEADERS, 5 | WITH_PRIORITY, 1, b"abcd")),
    "6.3 PRIORITY of stream 0": (PROTOCOL, lambda c: raw(PRIORITY, 0, 0, bytes(5))),
    "6.3 PRIORITY of a wrong size": (SIZE, lambda c: raw(PRIORITY, 0, 1, bytes(4))),
    "6.4 RST_STREAM of stream 0": (PROTOCOL, lambda c: rst(0)),
    "6.4 RST_STREAM of a wrong size": (SIZE, lambda c: c.post() + raw(RST, 0, 1, bytes(3))),
    "6.4 RST_STREAM of five bytes": (SIZE, lambda c: c.post() + raw(RST, 0, 1, bytes(5))),
    "6.5 acknowledgement with content": (SIZE, lambda c: raw(SETTINGS, ACK, 0, bytes(6))),
    "6.5 SETTINGS of a stream": (PROTOCOL, lambda c: raw(SETTINGS, 0, 1, bytes(6))),
    "6.5 SETTINGS of a wrong size": (SIZE, lambda c: raw(SETTINGS, 0, 0, bytes(3))),
    "6.5.2 ENABLE_PUSH 2": (PROTOCOL, lambda c: setting((ENABLE_PUSH, 2))),
    "6.5.2 window too large": (FLOW, lambda c: setting((WINDOW_SIZE, 1 << 31))),
    "6.5.2 frame size too small": (PROTOCOL, lambda c: setting((FRAME_SIZE, 16383))),
    "6.5.2 frame size too large": (PROTOCOL, lambda c: setting((FRAME_SIZE, 1 << 24))),
    "RFC 9218 2.1 priorities 2": (PROTOCOL, lambda c: setting((9, 2))),
    "6.6 PUSH_PROMISE": (PROTOCOL, lambda c: c.post() + raw(PUSH, 4, 1, word(2) + c.block())),
    "6.7 PING of a stream": (PROTOCOL, lambda c: raw(PING, 0, 1, bytes(8))),
    "6.7 PING of a wrong size": (SIZE, lambda c: raw(PING, 0, 0, bytes(6))),
    "6.7 acknowledged PING of a wrong size": (SIZE, lambda c: raw(PING, ACK, 0, bytes(9))),
    "6.8 GOAWAY of a stream": (PROTOCOL, lambda c: raw(GOAWAY, 0, 1, bytes(8))),
    "6.8 GOAWAY of a wrong size": (SIZE, lambda c: raw(GOAWAY, 0, 0, bytes(7))),
    "6.9 increment of 0": (PROTOCOL, lambda c: window(0, 0)),
    "6.9 WINDOW_UPDATE of a wrong size": (SIZE, lambda c: raw(WINDOW, 0, 0, bytes(3))),
    "6.9 WINDOW_UPDATE of a stream of a wrong size": (
        SIZE,
        lambda c: c.post() + raw(WINDOW, 0, 1, bytes(5)),
    ),
    "6.9.1 window of the connection overflows": (FLOW, lambda c: window(0, (1 << 31) - 1)),
    "6.9.2 a setting overflows a window": (
        FLOW,
        lambda c: c.post() + window(1, (1 << 31) - 1 - 65535) + setting((WINDOW_SIZE, 65536)),
    ),
    "6.10 CONTINUATION without HEADERS": (PROTOCOL, lambda c: raw(CONTINUATION, 4, 1)),
    "6.10 CONTINUATION after END_HEADERS": (
        PROTOCOL,
        lambda c: c.post() + raw(CONTINUATION, 4, 1, c.block()),
    ),
    "6.10 CONTINUATION of stream 0": (
        PROTOCOL,
        lambda c: raw(HEADERS, 1, 1, c.block()) + raw(CONTINUATION, 4, 0),
    ),
    "6.10 CONTINUATION of another stream": (
        PROTOCOL,
        lambda c: raw(HEADERS, 1, 1, c.block()) + raw(CONTINUATION, 4, 3),
    ),
    "RFC 7541 2.3.3 index beyond the tables": (COMPRESSION, lambda c: raw(HEADERS, 5, 1, b"\xbe")),
    "RFC 7541 2.3.3 name index beyond the tables": (
        COMPRESSION,
        lambda c: raw(HEADERS, 5, 1, b"\x7e\x01x"),
    ),
    "RFC 7541 4.2 size update after a field": (
        COMPRESSION,
        lambda c: raw(HEADERS, 5, 1, b"\x82\x20"),
    ),
    "RFC 7541 5.2 padding longer than 7 bits": (
        COMPRESSION,
        lambda c: raw(HEADERS, 5, 1, b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff"),
    ),
    "RFC 7541 5.2 padded with zeros": (
        COMPRESSION,
        lambda c: raw(HEADERS, 5, 1, b"\x00\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90"),
    ),
    "RFC 7541 5.2 EOS": (
        COMPRESSION,
        lambda c: raw(
            HEADERS, 5, 1, b"\x00\x85\xf2\xb2\x4a\x87\xff\x87\xff\xff\xff\xff\xff\xff\xff"
        ),
    ),
    "RFC 7541 6.1 index 0": (COMPRESSION, lambda c: raw(HEADERS, 5, 1, b"\x80")),
    "RFC 7541 6.3 table larger than allowed": (
        COMPRESSION,
        lambda c: raw(HEADERS, 5, 1, b"\x3f\xe2\x1f\x82"),
    ),
    "RFC 7541 4.2 three size updates": (
        COMPRESSION,
        lambda c: raw(HEADERS, 5, 1, b"\x20\x3f\xe1\x1f\x20" + c.block()),
    ),
    "RFC 7541 4.2 nothing but size updates": (
        COMPRESSION,
        lambda c: raw(HEADERS, 5, 1, b"\x20" * 16384),
    ),
    "RFC 7541 5.1 integer without end": (COMPRESSION, lambda c: raw(HEADERS, 5, 1, b"\x0f\xff")),
    "RFC 7541 5.1 integer too large": (
        COMPRESSION,
        lambda c: raw(HEADERS, 5, 1, b"\xff" + b"\xff" * 20),
    ),
    "RFC 7541 5.2 string without end": (COMPRESSION, lambda c: raw(HEADERS, 5, 1, b"\x00\x05abc")),
    "RFC 7541 6.2 value missing": (COMPRESSION, lambda c: raw(HEADERS, 5, 1, b"\x00\x01a")),
    "RFC 7541 2.2 a bad block of a stream that is not wanted": (
        COMPRESSION,
        lambda c: c.post() + rst(1) + raw(HEADERS, 5, 1, b"\x80"),
    ),
}


@pytest.mark.parametrize("case", CONNECTION_ERRORS)
def test_ends_the_connection(case: str) -> None:
    code, make = CONNECTION_ERRORS[case]
    peer = begun()
    for part in one_by_one(make(Client())):
        peer.send(part)
    assert peer.outcome.goaways == [code]
    assert peer.layer.finished


@pytest.mark.parametrize(
    "start",
    [
        b"INVALID CONNECTION PREFACE\r\n\r\n",
        PREFACE[:-1] + b"x",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        PREFACE + raw(PING, 0, 0, bytes(8)),
        PREFACE + raw(SETTINGS, ACK, 0),
        PREFACE + raw(0xAA, 0, 0),
    ],
    ids=["other", "last byte", "HTTP/1.1", "PING first", "acknowledgement first", "unknown first"],
)
def test_3_4_what_does_not_begin_as_it_must(start: bytes) -> None:
    peer = Peer()
    assert peer.send(start).goaways == [PROTOCOL]
    assert peer.layer.finished
    assert peer.requests == []


def test_3_4_the_preface_comes_byte_by_byte() -> None:
    peer = Peer()
    for byte in PREFACE + setting() + Client().head():
        peer.send(bytes((byte,)))
    assert peer.outcome.ended == {1}


# -- errors of one stream --------------------------------------------------------------------------


def fields(*more: tuple[str, str]) -> Make:
    return lambda c: c.head(1, [*GET, *more])


def without(name: str) -> Make:
    return lambda c: c.head(1, [item for item in GET if item[0] != name])


def instead(name: str, value: str) -> Make:
    return lambda c: c.head(1, [(n, value if n == name else v) for n, v in GET])


STREAM_ERRORS: dict[str, tuple[int, Make]] = {
    "5.1 half-closed: DATA": (CLOSED, lambda c: c.head(1) + data(1)),
    "5.1 half-closed: HEADERS": (CLOSED, lambda c: c.head(1) + c.head(1)),
    "5.1 reset by the client: DATA": (CLOSED, lambda c: c.post() + rst(1) + data(1)),
    "5.1 reset by the client: HEADERS": (CLOSED, lambda c: c.post() + rst(1) + c.head(1)),
    "6.9 increment of 0": (PROTOCOL, lambda c: c.post() + window(1, 0)),
    "6.9.1 window of a stream overflows": (FLOW, lambda c: c.post() + window(1, (1 << 31) - 1)),
    "6.9.1 more content than allowed": (
        FLOW,
        # The upstream does not take it: see `held`.
        lambda c: c.post() + data(1, bytes(16384)) * 16 + data(1),
    ),
    "8.1 second HEADERS without END_STREAM": (
        PROTOCOL,
        lambda c: c.post() + data(1) + c.head(1, [("a", "b")], flags=0),
    ),
    "8.1 pseudo-field in trailers": (
        PROTOCOL,
        lambda c: c.post() + c.head(1, [(":method", "GET")]),
    ),
    "8.1 status in trailers": (PROTOCOL, lambda c: c.post() + c.head(1, [(":status", "200")])),
    "8.1.1 more content than announced": (
        PROTOCOL,
        lambda c: c.post(1, ("content-length", "1")) + data(1, b"xy"),
    ),
    "8.1.1 more content than announced, in several frames": (
        PROTOCOL,
        lambda c: c.post(1, ("content-length", "1")) + data(1) + data(1),
    ),
    "8.1.1 less content than announced": (
        PROTOCOL,
        lambda c: c.post(1, ("content-length", "2")) + data(1, b"x", END_STREAM),
    ),
    "8.1.1 less content than announced before trailers": (
        PROTOCOL,
        lambda c: c.post(1, ("content-length", "2")) + data(1) + c.head(1, [("a", "b")]),
    ),
    "8.1.1 content announced and none": (PROTOCOL, fields(("content-length", "1"))),
    "8.1.1 two lengths": (
        PROTOCOL,
        fields(("content-length", "0"), ("content-length", "1")),
    ),
    "8.1.1 negative length": (PROTOCOL, fields(("content-length", "-0"))),
    "8.1.1 length with a sign": (PROTOCOL, fields(("content-length", "+0"))),
    "8.1.1 list of lengths": (PROTOCOL, fields(("content-length", "0, 0"))),
    "8.1.1 empty length": (PROTOCOL, fields(("content-length", ""))),
    "8.1.1 endless length": (PROTOCOL, fields(("content-length", "9" * 30))),
    "8.2.1 upper case": (PROTOCOL, fields(("X-Test", "ok"))),
    "8.2.1 upper case in trailers": (PROTOCOL, lambda c: c.post() + c.head(1, [("A", "b")])),
    "8.2.1 blank in a name": (PROTOCOL, fields(("x test", "ok"))),
    "8.2.1 colon in a name": (PROTOCOL, fields(("x:test", "ok"))),
    "8.2.1 empty name": (PROTOCOL, fields(("", "ok"))),
    "8.2.1 only a colon": (PROTOCOL, fields((":", "ok"))),
    "8.2.1 NUL in a name": (PROTOCOL, fields(("x\0", "ok"))),
    "8.2.1 DEL in a name": (PROTOCOL, fields(("x\x7f", "ok"))),
    "8.2.1 not ASCII in a name": (PROTOCOL, fields(("x\u00e9", "ok"))),
    "8.2.1 line end in a name": (PROTOCOL, fields(("x\r\ny", "ok"))),
    "8.2.1 NUL in a value": (PROTOCOL, fields(("x", "a\0b"))),
    "8.2.1 CR in a value": (PROTOCOL, fields(("x", "a\rb"))),
    "8.2.1 LF in a value": (PROTOCOL, fields(("x", "a\nb"))),
    "8.2.1 LF at the end": (PROTOCOL, fields(("x", "a\n"))),
    "8.2.1 blank in front": (PROTOCOL, fields(("x", " a"))),
    "8.2.1 tab behind": (PROTOCOL, fields(("x", "a\t"))),
    "8.2.1 LF in trailers": (PROTOCOL, lambda c: c.post() + c.head(1, [("a", "b\nc: d")])),
    "RFC 9110 5.5 control in a value": (PROTOCOL, fields(("x", "a\x01b"))),
    "8.2.2 connection": (PROTOCOL, fields(("connection", "keep-alive"))),
    "8.2.2 keep-alive": (PROTOCOL, fields(("keep-alive", "timeout=5"))),
    "8.2.2 proxy-connection": (PROTOCOL, fields(("proxy-connection", "keep-alive"))),
    "8.2.2 transfer-encoding": (PROTOCOL, fields(("transfer-encoding", "chunked"))),
    "8.2.2 upgrade": (PROTOCOL, fields(("upgrade", "websocket"))),
    "8.2.2 te": (PROTOCOL, fields(("te", "trailers, deflate"))),
    "8.2.2 connection in trailers": (
        PROTOCOL,
        lambda c: c.post() + c.head(1, [("connection", "x")]),
    ),
    "8.3 unknown pseudo-field": (PROTOCOL, fields((":test", "ok"))),
    "8.3 pseudo-field of responses": (PROTOCOL, fields((":status", "200"))),
    "8.3 pseudo-field behind": (PROTOCOL, lambda c: c.head(1, [*GET[:3], ("x", "y"), GET[3]])),
    "8.3 pseudo-field twice": (PROTOCOL, lambda c: c.head(1, [*GET, GET[3]])),
    "8.3.1 no method": (PROTOCOL, without(":method")),
    "8.3.1 no scheme": (PROTOCOL, without(":scheme")),
    "8.3.1 no path": (PROTOCOL, without(":path")),
    "8.3.1 no authority": (PROTOCOL, without(":authority")),
    "8.3.1 empty path": (PROTOCOL, instead(":path", "")),
    "8.3.1 empty method": (PROTOCOL, instead(":method", "")),
    "8.3.1 empty authority": (PROTOCOL, instead(":authority", "")),
    "8.3.1 two methods": (PROTOCOL, lambda c: c.head(1, [GET[0], *GET])),
    "8.3.1 two schemes": (PROTOCOL, lambda c: c.head(1, [GET[1], *GET])),
    "8.3.1 two authorities": (PROTOCOL, lambda c: c.head(1, [GET[2], *GET])),
    "8.3.1 another host": (PROTOCOL, fields(("host", "other.t.example"))),
    "8.3.1 two hosts": (
        PROTOCOL,
        lambda c: c.head(1, [GET[0], GET[1], GET[3], ("host", "a"), ("host", "b")]),
    ),
    "8.3.1 a request line in the method": (PROTOCOL, instead(":method", "GET / HTTP/1.1\r\nA: b")),
    "8.3.1 a URL in the scheme": (PROTOCOL, instead(":scheme", "https://evil.example/?")),
    "8.5 CONNECT with a path": (PROTOCOL, instead(":method", "CONNECT")),
    "RFC 8441 extended CONNECT, which is not offered": (
        PROTOCOL,
        lambda c: c.head(1, [(":method", "CONNECT"), *GET[1:], (":protocol", "websocket")]),
    ),
    "10.5.1 trailers larger than allowed": (
        CALM,
        lambda c: c.post() + c.head(1, [("a", "b" * MAX_HEADER_BYTES)]),
    ),
}


@pytest.mark.parametrize("case", STREAM_ERRORS)
def test_ends_the_stream(case: str) -> None:
    code, make = STREAM_ERRORS[case]
    peer = begun(answer=None)
    peer.requests.hold = True
    client = Client()
    out = peer.send(make(client))
    assert out.resets == {1: code}
    assert all(handler.gone for handler in peer.requests)
    assert peer.alive()
    assert out.goaways == []
    # The compression of the connection has not suffered.
    peer.send(client.head(3))
    assert len(peer.requests) - len([h for h in peer.requests if h.gone]) == 1


@pytest.mark.parametrize(
    ("status", "make"),
    {
        "8.3.1 blank in the path": (400, instead(":path", "/a b")),
        "8.3.1 line end in the path": (400, instead(":path", "/a\r\nB: c")),
        "8.3.1 relative path": (400, instead(":path", "mcp")),
        "8.3.1 asterisk with GET": (400, instead(":path", "*")),
        "8.3.1 userinfo": (400, instead(":authority", "me@echo.t.example")),
        "8.3.1 blank in the authority": (400, instead(":authority", "a b")),
        "8.5 CONNECT": (501, lambda c: c.head(1, [(":method", "CONNECT"), (":authority", "x:1")])),
        "10.5.1 fields larger than allowed": (431, fields(("a", "b" * MAX_HEADER_BYTES))),
    }.values(),
)
def test_is_answered_in_the_upstreams_place(status: int, make: Make) -> None:
    peer = begun()
    out = peer.send(make(Client()))
    assert dict(out.answers[1])[b":status"] == b"%d" % status
    assert 1 in out.ended
    assert peer.requests == []
    assert peer.alive()


# -- legal frames that must work -------------------------------------------------------------------

FINE: dict[str, Make] = {
    "4.1 unknown type": lambda c: raw(0xAA, 0xFF, 0, b"x") + c.head(),
    "4.1 unknown type of a stream": lambda c: c.post() + raw(0xAA, 0, 1) + data(1, b"", END_STREAM),
    "4.1 unknown flags": lambda c: raw(PING, 0xFE, 0, bytes(8)) + c.head(),
    "4.1 reserved bit": lambda c: raw(HEADERS, 5, 1 << 31 | 1, c.block()),
    "4.2 a full frame": lambda c: c.post() + data(1, bytes(16384)) + data(1, b"", END_STREAM),
    "5.1.1 numbers may be skipped": lambda c: c.head(1),
    "5.1 closed: PRIORITY": lambda c: c.head() + raw(PRIORITY, 0, 1, word(0) + b"\x0f"),
    "5.1 closed: WINDOW_UPDATE": lambda c: c.head() + window(1, 10),
    "5.1 closed: RST_STREAM": lambda c: c.head() + rst(1),
    "5.1 idle: PRIORITY": lambda c: raw(PRIORITY, 0, 9, word(1) + b"\x0f") + c.head(),
    "5.1 half-closed: WINDOW_UPDATE": lambda c: c.head() + window(1, 1),
    "5.3.2 HEADERS with a priority": lambda c: raw(
        HEADERS, 5 | WITH_PRIORITY, 1, word(0) + b"\x10" + c.block()
    ),
    "6.1 padded DATA": lambda c: c.post() + data(1, b"\x02ab\0\0", PADDED | END_STREAM),
    "6.1 only padding": lambda c: c.post() + data(1, b"\x02\0\0", PADDED | END_STREAM),
    "6.1 empty DATA": lambda c: c.post() + data(1, b"") * 3 + data(1, b"", END_STREAM),
    "6.2 padded HEADERS": lambda c: raw(HEADERS, 5 | PADDED, 1, b"\x03" + c.block() + bytes(3)),
    "6.2 padded HEADERS with a priority": lambda c: raw(
        HEADERS, 5 | PADDED | WITH_PRIORITY, 1, b"\x01" + word(0) + b"\x10" + c.block() + b"\0"
    ),
    "6.5 unknown setting": lambda c: setting((0xFF, 1)) + c.head(),
    "6.5 empty SETTINGS": lambda c: setting() + c.head(),
    "6.5.2 all settings at their limits": lambda c: (
        setting(
            (1, 0), (2, 0), (3, 0), (4, (1 << 31) - 1), (5, (1 << 24) - 1), (6, 0), (8, 1), (9, 1)
        )
        + c.head()
    ),
    "6.5.2 all settings at their other limits": lambda c: (
        setting((1, (1 << 32) - 1), (2, 1), (3, 1), (4, 65535), (5, 16384), (6, 1)) + c.head()
    ),
    "6.8 GOAWAY of one who waits for its answers": lambda c: c.head() + raw(GOAWAY, 0, 0, bytes(8)),
    "6.9 the largest window": lambda c: window(0, (1 << 31) - 1 - 65535) + c.head(),
    "6.10 CONTINUATION": lambda c: raw(HEADERS, 1, 1, c.block()) + raw(CONTINUATION, 4, 1),
    "6.10 many CONTINUATION": lambda c: (
        raw(HEADERS, 1, 1)
        + b"".join(raw(CONTINUATION, 0, 1, bytes((byte,))) for byte in c.block())
        + raw(CONTINUATION, 4, 1)
    ),
    "8.1 trailers": lambda c: c.post() + data(1) + c.head(1, [("x-sum", "1")]),
    "8.1 trailers in pieces": lambda c: (
        c.post() + raw(HEADERS, 1, 1, c.block([("x-sum", "1")])) + raw(CONTINUATION, 4, 1)
    ),
    "8.1 empty trailers": lambda c: c.post() + c.head(1, []),
    "8.1.1 content as announced": lambda c: (
        c.post(1, ("content-length", "3")) + data(1, b"ab") + data(1, b"c", END_STREAM)
    ),
    "8.1.1 padding is no content": lambda c: (
        c.post(1, ("content-length", "1")) + data(1, b"\x09x" + bytes(9), PADDED | END_STREAM)
    ),
    "8.1.1 length of nothing": fields(("content-length", "0")),
    "8.1.1 the same length twice": fields(("content-length", "0"), ("content-length", "0")),
    "8.2.1 empty value": fields(("x", "")),
    "8.2.1 value of one letter": fields(("x", "y")),
    "8.2.1 blanks inside": fields(("x", "a \t b")),
    "8.2.1 not ASCII in a value": fields(("x", "caf\u00e9")),
    "8.2.2 te: trailers": fields(("te", "trailers")),
    "8.2.3 split cookie": fields(("cookie", "a=b"), ("cookie", "c=d")),
    "8.3.1 host instead of authority": lambda c: c.head(
        1, [GET[0], GET[1], GET[3], ("host", "echo.t.example")]
    ),
    "8.3.1 the same host": fields(("host", "echo.t.example")),
    "8.3.1 scheme http": instead(":scheme", "http"),
    "8.3.1 OPTIONS *": lambda c: c.head(1, [(":method", "OPTIONS"), *GET[1:3], (":path", "*")]),
    "8.3.1 order of the pseudo-fields": lambda c: c.head(1, GET[::-1]),
    "RFC 7541 2.3.1 static fields": lambda c: raw(HEADERS, 5, 1, b"\x82\x84\x87\x41\x01x"),
    "RFC 7541 4.2 size update in front": lambda c: raw(
        HEADERS, 5, 1, b"\x20\x3f\xe1\x1f\x82\x84\x87\x41\x01x"
    ),
    "RFC 7541 5.1 integer with needless zeros": lambda c: raw(
        HEADERS, 5, 1, b"\x82\x84\x87\x41\x01x\x00\x7f\x80\x80\x00" + b"n" * 127 + b"\x01v"
    ),
    "RFC 7541 5.2 Huffman": lambda c: raw(
        HEADERS, 5, 1, bytes(c.encoder.encode([*GET, ("user-agent", "x" * 100)], huffman=True))
    ),
    "RFC 7541 5.2 no Huffman": lambda c: raw(
        HEADERS, 5, 1, bytes(c.encoder.encode([*GET, ("user-agent", "x" * 100)], huffman=False))
    ),
    "RFC 7541 6.2.2 without indexing": lambda c: raw(HEADERS, 5, 1, c.block() + b"\x00\x01a\x01b"),
    "RFC 7541 6.2.3 never indexed": lambda c: raw(
        HEADERS,
        5,
        1,
        bytes(c.encoder.encode([*GET, NeverIndexedHeaderTuple("authorization", "Bearer x")])),
    ),
}


@pytest.mark.parametrize("case", FINE)
def test_works(case: str) -> None:
    peer = begun()
    for part in one_by_one(FINE[case](Client())):
        peer.send(part)
    out = peer.outcome
    assert out.goaways in ([], [NO_ERROR])
    assert out.resets == {}
    assert len(peer.requests) == 1
    assert dict(out.answers[1])[b":status"] == b"200"
    assert out.bodies[1] == b"ok"
    assert out.ended == {1}


def test_6_5_3_settings_are_acknowledged_each() -> None:
    peer = begun()
    peer.send(setting((STREAMS, 1)) + setting())
    acknowledged = [frame for frame in peer.outcome.settings if "ACK" in frame.flags]
    assert len(acknowledged) == 3
    assert "ACK" not in peer.outcome.settings[0].flags


def test_6_7_a_ping_is_answered_with_its_content() -> None:
    peer = begun()
    out = peer.send(raw(PING, 0, 0, b"12345678") + raw(PING, ACK, 0, b"unasked!"))
    assert out.pongs == [b"12345678"]


def test_7541_4_3_a_smaller_table_forgets() -> None:
    peer = begun()
    client = Client()
    peer.send(client.head(1, [*GET, ("x-a", "1"), ("x-b", "2")]))
    client.encoder.header_table_size = 0
    peer.send(client.head(3))
    client.encoder.header_table_size = 4096
    peer.send(client.head(5, [*GET, ("x-c", "3")]), client.head(7, [*GET, ("x-c", "3")]))
    assert [handler.head.headers for handler in peer.requests] == [
        [(b"x-a", b"1"), (b"x-b", b"2")],
        [],
        [(b"x-c", b"3")],
        [(b"x-c", b"3")],
    ]
    assert peer.send(raw(HEADERS, 5, 9, b"\x20\xbe")).goaways == [COMPRESSION]


def test_7541_4_2_a_client_that_allows_no_table_gets_none() -> None:
    peer = begun()
    peer._decoder.max_allowed_table_size = 0  # raises if the layer does not change its table too
    peer._decoder.header_table_size = 0
    out = peer.send(setting((1, 0)) + Client().head())
    assert out.ended == {1}


def test_8_1_a_response_without_content_ends_with_its_head() -> None:
    peer = begun(answer=b"")
    out = peer.send(Client().head())
    assert [type(frame) for frame in out.frames[-1:]] == [HeadersFrame]
    assert out.ended == {1}


def test_9110_9_3_2_the_answer_to_head_has_no_content() -> None:
    peer = begun(answer=b"content")
    out = peer.send(instead(":method", "HEAD")(Client()))
    assert dict(out.answers[1])[b"content-length"] == b"7"
    assert out.bodies == {}
    assert out.ended == {1}


@pytest.mark.parametrize("fault", [":path", ":authority"])
def test_9110_9_3_2_a_refused_head_has_no_content(fault: str) -> None:
    peer = begun()
    wrong = [(":method", "HEAD"), *GET[1:]]
    out = peer.send(Client().head(1, [(n, "a b" if n == fault else v) for n, v in wrong]))
    assert dict(out.answers[1])[b":status"] == b"400"
    assert out.bodies == {}
    assert out.ended == {1}


def test_4_3_a_large_head_of_a_response_is_sent_in_pieces() -> None:
    peer = begun(answer=None)
    peer.send(Client().head())
    stream = peer.requests[0].stream
    stream.send_interim(103, [(b"Link", b"x" * 40_000)])
    sizes = []
    rest = b"".join(peer.layer.output())
    while rest:
        _, size = Frame.parse_frame_header(memoryview(rest[:9]))
        sizes.append((rest[3], rest[4], size))
        rest = rest[9 + size :]
    assert [item[:2] for item in sizes] == [(HEADERS, 0), (CONTINUATION, 0), (CONTINUATION, 4)]
    assert max(size for *_, size in sizes) == 16384


# -- flow control (§5.2, §6.9) ---------------------------------------------------------------------


def test_the_window_of_a_stream_holds_its_answer_only() -> None:
    peer = begun(answer=b"y" * 100)
    client = Client()
    out = peer.send(setting((WINDOW_SIZE, 10)) + client.head(1))
    assert out.bodies[1] == b"y" * 10
    peer.send(window(1, 5))
    assert len(out.bodies[1]) == 15
    peer.send(setting((WINDOW_SIZE, 0)))  # the window is -10 now
    peer.send(window(1, 10))
    assert len(out.bodies[1]) == 15
    peer.send(window(1, 1))
    assert len(out.bodies[1]) == 16
    peer.send(setting((WINDOW_SIZE, 1000)) + client.head(3))
    assert out.bodies[1] == out.bodies[3] == b"y" * 100
    assert out.ended == {1, 3}


def test_the_window_of_the_connection_holds_all_answers() -> None:
    peer = begun(answer=b"y" * 65536)
    client = Client()
    out = peer.send(setting((WINDOW_SIZE, 1 << 20)) + client.head(1))
    assert len(out.bodies[1]) == 65535
    peer.send(client.head(3))
    assert 3 in out.answers  # a head needs no window
    assert 3 not in out.bodies
    peer.send(window(0, 1))
    assert 1 in out.ended
    peer.send(window(0, 1 << 20))
    assert out.ended == {1, 3}


def test_an_end_needs_no_window() -> None:
    peer = begun(answer=b"")
    out = peer.send(setting((WINDOW_SIZE, 0)) + Client().head())
    assert out.ended == {1}


def test_stalled_uploads_leave_the_others_their_window() -> None:
    peer = begun(answer=None)
    peer.requests.hold = True
    client = Client()
    for number in range(1, 61, 2):
        peer.send(client.post(number), data(number, bytes(16384)) * 16)
    peer.requests.hold = False
    out = peer.send(client.post(61))
    for _ in range(100):
        peer.send(data(61, bytes(16384)))
    assert out.goaways == []
    assert out.resets == {}
    assert len(peer.requests[-1].body) == 100 * 16384


def test_padding_counts_and_is_given_back() -> None:
    peer = begun(answer=None)
    client = Client()
    peer.send(client.post())
    for _ in range(100):
        peer.send(data(1, b"\xf0x" + bytes(0xF0), PADDED) * 16)
    assert peer.outcome.resets == {}
    assert peer.outcome.windows[1] >= 100 * 16 * 0xF2 - (1 << 18)


def test_content_of_dead_streams_is_given_back_to_the_connection() -> None:
    peer = begun(answer=None)
    client = Client()
    out = peer.send(client.post(1, ("content-length", "1")), data(1, b"xy"))
    assert out.resets == {1: PROTOCOL}
    before = out.windows.get(0, 0)
    for _ in range(600):  # on their way when the reset was sent (§5.4.2)
        peer.send(data(1, bytes(16384)))
    assert out.goaways == []
    assert out.windows[0] - before > 600 * 16384 - (1 << 23)


def test_more_content_than_the_connection_allows() -> None:
    peer = begun(answer=None)
    peer.requests.hold = True
    client = Client()
    out = peer.outcome
    for number in range(1, 67, 2):
        peer.send(client.post(number), data(number, bytes(16384)) * 16)
    assert out.goaways == [FLOW]


# -- limits (§5.1.2, §10.5) ------------------------------------------------------------------------


def test_5_1_2_streams_beyond_the_limit_are_refused() -> None:
    peer = begun(answer=None, max_streams=2)
    client = Client()
    out = peer.send(*(client.head(number) for number in (1, 3, 5)))
    assert out.resets == {5: REFUSED}
    peer.send(rst(1) + client.head(7))
    assert out.resets == {5: REFUSED}
    assert peer.alive()


def test_frames_of_refused_streams_are_ignored() -> None:
    peer = begun(answer=None, max_streams=1)
    client = Client()
    out = peer.send(client.head(1), client.post(3), data(3), client.head(3, [("a", "b")]))
    assert out.resets == {3: REFUSED}
    assert peer.alive()


def test_after_a_drain_new_streams_are_refused_and_old_ones_finish() -> None:
    peer = begun(answer=None)
    client = Client()
    peer.send(client.post(1))
    peer.layer.drain()
    out = peer.send(client.head(3), data(1, b"end", END_STREAM))
    assert out.goaways == [NO_ERROR]
    assert out.resets == {3: REFUSED}
    assert peer.requests[0].body == b"end"
    peer.requests[0].reply(b"last")
    assert peer.fetch().bodies[1] == b"last"
    assert peer.layer.finished


ENDLESS: dict[str, Callable[[Client, int], bytes]] = {
    "PING": lambda c, n: raw(PING, 0, 0, bytes(8)),
    "answers to no PING": lambda c, n: raw(PING, ACK, 0, bytes(8)),
    "SETTINGS (CVE-2019-9515)": lambda c, n: setting(),
    "empty DATA (CVE-2019-9518)": lambda c, n: data(1, b""),
    "only padding": lambda c, n: data(1, b"\x01\0", PADDED),
    "PRIORITY": lambda c, n: raw(PRIORITY, 0, 2 * n + 3, word(1) + b"\0"),
    "unknown type": lambda c, n: raw(0xAA, 0, 0),
    "window updates of the connection": lambda c, n: window(0, 1),
    "window updates of a stream": lambda c, n: window(1, 1),
    "resets of what is over": lambda c, n: rst(1),
    "cancelled requests (CVE-2023-44487)": lambda c, n: c.head(2 * n + 3) + rst(2 * n + 3),
    "requests made invalid: window (CVE-2025-8671)": lambda c, n: (
        c.head(2 * n + 3) + window(2 * n + 3, 0)
    ),
    "requests made invalid: overflow (CVE-2025-8671)": lambda c, n: (
        c.head(2 * n + 3) + window(2 * n + 3, (1 << 31) - 1)
    ),
    "requests made invalid: content (CVE-2025-8671)": lambda c, n: (
        c.head(2 * n + 3) + data(2 * n + 3)
    ),
    "malformed requests": lambda c, n: c.head(2 * n + 3, [*GET, ("A", "b")]),
    "field sections that only change the table": lambda c, n: raw(HEADERS, 5, 2 * n + 3, b"\x20"),
    "empty field sections": lambda c, n: raw(HEADERS, 5, 2 * n + 3),
}


@pytest.mark.parametrize("case", ENDLESS)
def test_has_an_end(case: str) -> None:
    make = ENDLESS[case]
    peer = begun(answer=None)
    client = Client()
    out = peer.send(client.post(1))
    peer.send(*(make(client, turn) for turn in range(1500)))
    assert out.goaways == [CALM]
    assert peer.layer.finished
    assert all(handler.gone for handler in peer.requests)


@pytest.mark.parametrize("acknowledged", [False, True])
def test_streams_that_are_refused_have_an_end(acknowledged: bool) -> None:
    """With and without an acknowledgement of the limit: floods do not send it."""
    peer = Peer(answer=None, max_streams=1)
    peer.send(PREFACE + setting())
    if acknowledged:
        peer.send(raw(SETTINGS, ACK, 0))
    client = Client()
    out = peer.send(*(client.head(2 * turn + 1) for turn in range(400)))
    assert len(out.resets) == 399
    assert peer.alive()
    peer.send(*(client.head(2 * turn + 1) for turn in range(400, 700)))
    assert out.goaways == [CALM]
    assert peer.layer.finished


def test_two_size_updates_are_allowed() -> None:
    peer = begun()
    out = peer.send(raw(HEADERS, 5, 1, b"\x20\x3f\xe1\x1f" + Client().block()))
    assert out.goaways == []
    assert len(peer.requests) == 1


@pytest.mark.parametrize("busy", [False, True])
def test_6_5_3_settings_that_are_never_acknowledged(busy: bool) -> None:
    peer = Peer(answer=None)
    peer.send(PREFACE + setting())
    if busy:
        peer.send(Client().head())
    peer.layer.tick(100.0)
    peer.layer.tick(109.9)
    assert peer.fetch().goaways == []
    peer.layer.tick(110.0)
    assert peer.fetch().goaways == [SETTINGS_TIMEOUT]
    assert peer.layer.finished
    assert all(handler.gone for handler in peer.requests)


def test_6_5_3_settings_that_are_acknowledged() -> None:
    peer = Peer(answer=None)
    peer.send(PREFACE + setting())
    peer.layer.tick(100.0)
    peer.send(raw(SETTINGS, ACK, 0))
    peer.layer.tick(1000.0)
    assert peer.fetch().goaways == []


@pytest.mark.parametrize("case", ["PING", "window updates of the connection", "PRIORITY"])
def test_is_allowed_now_and_then(case: str) -> None:
    peer = begun(answer=None)
    peer.send(raw(SETTINGS, ACK, 0))
    client = Client()
    peer.send(client.post(1))
    for second in range(300):
        peer.layer.tick(float(second))
        peer.send(*(ENDLESS[case](client, turn) for turn in range(20)))
    assert peer.outcome.goaways == []


def test_cancelling_now_and_then_is_no_attack() -> None:
    peer = begun(answer=b"ok")
    client = Client()
    for turn in range(2000):
        peer.send(client.head(4 * turn + 1), client.post(4 * turn + 3) + rst(4 * turn + 3))
    assert peer.outcome.goaways == []


def test_tiny_windows_have_an_end() -> None:
    peer = begun(answer=b"y" * 60_000)
    out = peer.send(setting((WINDOW_SIZE, 0)) + Client().head())
    for _ in range(1500):
        peer.send(window(1, 1))
    assert out.goaways == [CALM]


def test_a_client_that_acknowledges_every_frame_is_served() -> None:
    peer = begun(answer=None)
    peer.send(Client().head())
    stream = peer.requests[0].stream
    for _ in range(3000):  # events of a stream, each acknowledged for stream and connection
        stream.send_body(b"data: x\n\n")
        peer.fetch()
        peer.send(window(1, 9) + window(0, 9))
    assert peer.outcome.goaways == []


@pytest.mark.parametrize("size", [0, 1, 100])
def test_a_field_section_without_end(size: int) -> None:
    """CVE-2024-27316."""
    peer = begun()
    out = peer.send(raw(HEADERS, 1, 1), *[raw(CONTINUATION, 0, 1, bytes(size))] * 2000)
    assert out.goaways == [CALM]


def test_a_small_block_of_many_fields() -> None:
    """One entry of the table, repeated: 4 kB that say 16 MB (RFC 7541 §7.3)."""
    peer = begun()
    big = bytes(Encoder().encode([*GET, ("x", "y" * 3000)], huffman=False))
    out = peer.send(raw(HEADERS, 5, 1, big), raw(HEADERS, 5, 3, b"\xbe" * 4000))
    assert len(peer.requests) == 1
    assert out.goaways == [CALM]
