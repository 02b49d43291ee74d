"""RFC 6455 as the proxy speaks it: a byte stream in binary messages, so text is refused (1003).

The sections are those of the Autobahn test suite; its cases for text are cases of refusal here.
Frames are written by hand, as no library writes bad ones. Each case is sent whole and in pieces.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from mcp_proxy.tunnel.websocket import MAX_FRAME, MAX_SENT, WebSocketLayer, WebSocketRefused
from running import DOMAIN, proxied
from tunnelled import get
from upstreams import plain_answer, raw_upstream, read_head
from websockets.utils import apply_mask

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
KEY = b"\x37\xfa\x21\x3d"
_KEY_FIELD = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
OPENING = "\r\n".join(
    (
        "GET / HTTP/1.1",
        "Host: x",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        _KEY_FIELD,
        "",
        "",
    )
)


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    more: bool = False,
    reserved: int = 0,
    mask: bytes | None = KEY,
    size: int | None = None,
    length: int | None = None,
) -> bytes:
    """A client's frame.

    *more* if the message goes on; *size* bytes of extended length instead of as few as possible;
    *length* instead of the true one.
    """
    length = len(payload) if length is None else length
    if size is None:
        size = 0 if length < 126 else 2 if length < 65536 else 8
    second = {0: length, 2: 126, 8: 127}[size] | (0 if mask is None else 0x80)
    head = bytes(((0 if more else 0x80) | reserved << 4 | opcode, second))
    head += {0: b"", 2: struct.pack("!H", length & 0xFFFF), 8: struct.pack("!Q", length)}[size]
    return head + (payload if mask is None else mask + apply_mask(payload, mask))


def close(code: int | None = 1000, reason: bytes = b"") -> bytes:
    """A close frame; without a code it has no payload."""
    return frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason)


@dataclass(frozen=True)
class Case:
    """The bytes sent, the payload that is taken of them, and the control frames that come back.

    ``fails`` is the status with which the connection fails, ``closes`` the payload of the close
    frame with which it ends well; without both it lives on.
    """

    sent: bytes
    payload: bytes = b""
    pongs: list[bytes] = field(default_factory=list)
    fails: int | None = None
    closes: bytes | None = None


AFTER = frame(BINARY, b"after") + frame(PING, b"after")
"""Frames that follow a fault: it must be as if they had not been sent."""

A, B, C = b"a" * 10, b"b" * 10, b"c" * 10
MASKS = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\xff\0\xff", b"\x80\0\0\x01")


def _framing() -> Iterator[tuple[str, Case]]:
    sizes = (0, 1, 124, 125, 126, 127, 128, 129, 65534, 65535, 65536, 65537, MAX_FRAME)
    for size in sizes:
        data = bytes(i * 7 & 255 for i in range(min(size, 4096))) * (size // 4096 + 1)
        data = data[:size]
        yield f"1.2 binary of {size} bytes", Case(frame(BINARY, data), data)
        yield f"1.1 text of {size} bytes", Case(frame(TEXT, data) + AFTER, fails=1003)
    for mask in MASKS:
        yield f"mask {mask.hex()}", Case(frame(BINARY, A, mask=mask), A)
    yield "a mask for each frame", Case(b"".join(frame(BINARY, A, mask=m) for m in MASKS), A * 4)
    for name, size in (("two", 2), ("eight", 8)):
        # Senders must not do this (§5.2), but there is only one way to read it.
        yield f"length in {name} bytes, needlessly", Case(frame(BINARY, A, size=size), A)
        yield f"length 0 in {name} bytes", Case(frame(BINARY, size=size) + frame(BINARY, A), A)
    yield "length of 65535 in eight bytes", Case(frame(BINARY, bytes(65535), size=8), bytes(65535))
    for name, opcode in (("binary", BINARY), ("ping", PING), ("close", CLOSE), ("cont", CONT)):
        unmasked = frame(opcode, b"\x03\xe8", mask=None)
        yield f"unmasked {name}", Case(unmasked + AFTER, fails=1002)
    yield (
        "unmasked, after good ones",
        Case(frame(BINARY, A) + frame(BINARY, B, mask=None) + AFTER, A, fails=1002),
    )
    yield "unmasked and empty", Case(frame(BINARY, mask=None) + AFTER, fails=1002)
    for length in (MAX_FRAME + 1, 1 << 31, 1 << 32, (1 << 32) + 5, (1 << 63) - 1):
        too_big = frame(BINARY, A, size=8, length=length)
        yield f"length {length}", Case(too_big + AFTER, fails=1009)
    for length in (1 << 63, (1 << 64) - 1):
        msb = frame(BINARY, A, size=8, length=length)
        yield f"length {length}, the first bit set", Case(msb + AFTER, fails=1009)
    yield (
        "messages may be longer than any frame",
        Case(
            frame(BINARY, bytes(MAX_FRAME), more=True) + frame(CONT, bytes(MAX_FRAME)),
            bytes(2 * MAX_FRAME),
        ),
    )


def _pings() -> Iterator[tuple[str, Case]]:
    yield "2.1 ping without payload", Case(frame(PING), pongs=[b""])
    yield "2.2 ping with text", Case(frame(PING, b"Hello"), pongs=[b"Hello"])
    yield "2.3 ping with bytes", Case(frame(PING, b"\0\xff\xfe\xfd"), pongs=[b"\0\xff\xfe\xfd"])
    yield "2.4 ping of 125 bytes", Case(frame(PING, b"\xfe" * 125), pongs=[b"\xfe" * 125])
    yield "2.5 ping of 126 bytes", Case(frame(PING, bytes(126)) + AFTER, fails=1002)
    yield "2.5 ping of 65536 bytes", Case(frame(PING, bytes(65536)) + AFTER, fails=1002)
    yield "2.5 pong of 126 bytes", Case(frame(PONG, bytes(126)) + AFTER, fails=1002)
    yield "2.7 unasked pong", Case(frame(PONG) + frame(BINARY, A), A)
    yield "2.8 unasked pong with payload", Case(frame(PONG, b"x"))
    yield "2.9 unasked pong and ping", Case(frame(PONG, b"x") + frame(PING, b"y"), pongs=[b"y"])
    ten = [b"payload-%d" % number for number in range(10)]
    yield "2.10 ten pings", Case(b"".join(frame(PING, data) for data in ten), pongs=ten)
    yield "length of a ping in two bytes", Case(frame(PING, A, size=2), pongs=[A])
    yield "masked ping", Case(frame(PING, A, mask=b"\xff\0\xff\0"), pongs=[A])
    for opcode, name in ((PING, "ping"), (PONG, "pong"), (CLOSE, "close")):
        yield f"{name} in fragments", Case(frame(opcode, more=True) + AFTER, fails=1002)
        yield (
            f"{name} of length 2^63",
            Case(frame(opcode, size=8, length=1 << 63) + AFTER, fails=1009),
        )


def _reserved() -> Iterator[tuple[str, Case]]:
    for bits in range(1, 8):
        for opcode, name in ((BINARY, "binary"), (PING, "ping"), (CLOSE, "close"), (PONG, "pong")):
            bad = frame(opcode, b"\x03\xe8", reserved=bits)
            yield (
                f"3.{bits} {name} with reserved bits {bits:03b}",
                Case(frame(BINARY, A) + bad + AFTER, A, fails=1002),
            )
    yield (
        "3.x in a continuation",
        Case(frame(BINARY, A, more=True) + frame(CONT, B, reserved=4) + AFTER, A, fails=1002),
    )
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        for payload in (b"", b"reserved"):
            yield (
                f"4 opcode {opcode}, {len(payload)} bytes",
                Case(frame(BINARY, A) + frame(opcode, payload) + AFTER, A, fails=1002),
            )


def _fragments() -> Iterator[tuple[str, Case]]:
    first, last = frame(BINARY, A, more=True), frame(CONT, B)
    middle = frame(CONT, C, more=True)
    yield "5.1 two fragments", Case(first + last, A + B)
    yield "5.2 three fragments", Case(first + middle + last, A + C + B)
    yield "5.6 ping between fragments", Case(first + frame(PING, b"x") + last, A + B, [b"x"])
    yield "5.7 pong between fragments", Case(first + frame(PONG, b"x") + last, A + B)
    yield (
        "5.8 empty fragments",
        Case(frame(BINARY, more=True) + frame(CONT, more=True) + frame(CONT), b""),
    )
    yield "5.9 continuation of nothing", Case(last + AFTER, fails=1002)
    yield "5.10 continuation of nothing that goes on", Case(middle + AFTER, fails=1002)
    yield "5.11 continuation after the end", Case(first + last + last + AFTER, A + B, fails=1002)
    yield (
        "5.15 continuation after a whole message",
        Case(frame(BINARY, A) + last + AFTER, A, fails=1002),
    )
    yield (
        "5.18 a new message in the midst of one",
        Case(first + frame(BINARY, B) + AFTER, A, fails=1002),
    )
    yield (
        "5.18 a fragment of a new message in the midst of one",
        Case(first + first + AFTER, A, fails=1002),
    )
    yield "5.18 text in the midst of a message", Case(first + frame(TEXT, B) + AFTER, A, fails=1002)
    yield (
        "5.19 five fragments and pings",
        Case(
            first + (frame(PING, b"1") + middle) * 3 + frame(PING, b"2") + last,
            A + C * 3 + B,
            [b"1"] * 3 + [b"2"],
        ),
    )
    yield (
        "a thousand fragments of one byte",
        Case(
            frame(BINARY, b"x", more=True) + frame(CONT, b"y", more=True) * 998 + frame(CONT, b"z"),
            b"x" + b"y" * 998 + b"z",
        ),
    )
    yield "text in fragments", Case(frame(TEXT, A, more=True) + frame(CONT, B) + AFTER, fails=1003)
    for name, text in (
        ("6.1 empty text", b""),
        ("6.2 text", "Hello-µ@ßöäüàá-UTF-8!!".encode()),
        ("6.3 text that is no UTF-8", b"\xce\xba\xed\xa0\x80edited"),
    ):
        yield name, Case(frame(BINARY, A) + frame(TEXT, text) + AFTER, A, fails=1003)
    yield (
        "6.x bytes that are no UTF-8",
        Case(frame(BINARY, b"\xce\xed\xa0\x80"), b"\xce\xed\xa0\x80"),
    )


def _closing() -> Iterator[tuple[str, Case]]:
    yield (
        "7.1.1 close after a message",
        Case(frame(BINARY, A) + close() + AFTER, A, closes=b"\x03\xe8"),
    )
    yield "7.1.2 two closes", Case(close() + close(), closes=b"\x03\xe8")
    yield "7.1.3 ping after close", Case(close() + frame(PING), closes=b"\x03\xe8")
    yield "7.1.4 message after close", Case(close() + frame(BINARY, A), closes=b"\x03\xe8")
    yield (
        "7.1.5 close in the midst of a message",
        Case(frame(BINARY, A, more=True) + close() + frame(CONT, B), A, fails=1002),
    )
    yield (
        "7.1.6 close after a large message",
        Case(
            frame(BINARY, bytes(262144)) + close() + frame(PING), bytes(262144), closes=b"\x03\xe8"
        ),
    )
    yield "7.3.1 close without status", Case(close(None) + AFTER, closes=b"")
    yield "7.3.2 close of one byte", Case(frame(CLOSE, b"x") + AFTER, fails=1002)
    yield "7.3.3 close with status", Case(close(1000), closes=b"\x03\xe8")
    yield "7.3.4 close with reason", Case(close(1000, b"Hello"), closes=b"\x03\xe8Hello")
    yield (
        "7.3.5 close of 125 bytes",
        Case(close(1000, A * 12 + b"abc"), closes=b"\x03\xe8" + A * 12 + b"abc"),
    )
    yield "7.3.6 close of 126 bytes", Case(close(1000, A * 12 + b"abcd") + AFTER, fails=1002)
    yield (
        "7.5.1 reason that is no UTF-8",
        Case(close(1000, b"\xce\xba\xed\xa0\x80edited") + AFTER, fails=1007),
    )
    yield "reason with a byte that is none", Case(close(1000, b"\xff") + AFTER, fails=1007)
    yield "reason cut in a character", Case(close(1000, b"\xc3") + AFTER, fails=1007)
    for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000):
        yield f"7.7 status {code}", Case(close(code), closes=struct.pack("!H", code))
    for code in (3999, 4000, 4999):
        yield f"7.7 status {code}", Case(close(code), closes=struct.pack("!H", code))
    for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535):
        yield f"7.9 status {code}", Case(close(code) + AFTER, fails=1002)
    yield "status in a reason of three bytes", Case(close(1002, b"a"), closes=b"\x03\xeaa")


def _limits() -> Iterator[tuple[str, Case]]:
    yield (
        "9.2 4 MiB in frames of 64 KiB",
        Case(
            frame(BINARY, bytes(65536), more=True)
            + frame(CONT, bytes(65536), more=True) * 62
            + frame(CONT, bytes(65536)),
            bytes(4 << 20),
        ),
    )
    yield "9.7 a thousand small messages", Case(frame(BINARY, A) * 1000, A * 1000)
    yield "10,000 empty messages", Case(frame(BINARY) * 10_000)
    yield (
        "10,000 empty fragments",
        Case(frame(BINARY, A, more=True) + frame(CONT, more=True) * 10_000 + frame(CONT, B), A + B),
    )
    yield "5,000 pongs", Case(frame(PONG, A) * 5000)


CASES = [
    pytest.param(case, id=name)
    for section in (_framing, _pings, _reserved, _fragments, _closing, _limits)
    for name, case in section()
]


def opened() -> WebSocketLayer:
    layer = WebSocketLayer()
    layer.receive(OPENING.encode())
    assert layer.open
    layer.output()
    return layer


def controls(data: bytes) -> list[tuple[int, bytes]]:
    """The server's frames in *data*, which must be well-formed: whole, unmasked, shortest form."""
    found = []
    while data:
        first, length = data[0], data[1]
        assert first & 0x70 == 0, data
        assert length < 126, data
        found.append((first & 0x8F, data[2 : 2 + length]))
        assert len(found[-1][1]) == length
        data = data[2 + length :]
    return found


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def received(layer: WebSocketLayer, parts: list[bytes]) -> bytes:
    return b"".join(b"".join(layer.receive(part)) for part in parts)


@pytest.mark.parametrize("size", [1, 997, 65536], ids=lambda size: f"{size}")
@pytest.mark.parametrize("case", CASES)
def test_frames(case: Case, size: int) -> None:
    if size == 1 and len(case.sent) > 200_000:
        size = 4093  # the same, but for the minutes
    layer = opened()
    payload, output = b"", b""
    for piece in pieces(case.sent, size):
        payload += b"".join(layer.receive(piece))
        output += layer.output()
    assert payload == case.payload
    wanted = [(0x80 | PONG, data) for data in case.pongs]
    if case.fails is not None:
        got = controls(output)
        assert got[:-1] == wanted
        assert got[-1][0] == 0x80 | CLOSE
        assert struct.unpack("!H", got[-1][1][:2]) == (case.fails,)
    else:
        if case.closes is not None:
            wanted.append((0x80 | CLOSE, case.closes))
        assert controls(output) == wanted
    ended = case.fails is not None or case.closes is not None
    assert (layer.closing, layer.closed) == (ended, ended)
    layer.send(b"more")
    assert (layer.output() == b"") is ended


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, MAX_SENT + 1, 300_000])
def test_frames_sent_are_of_the_shortest_form(size: int) -> None:
    layer = opened()
    layer.send(b"x" * size)
    data, payload = layer.output(), b""
    while data:
        assert data[0] == 0x80 | BINARY
        length, at = data[1], 2
        if length > 125:
            at = 4 if length == 126 else 10
            length = int.from_bytes(data[2:at], "big")
            assert length > (125 if at == 4 else 65535)
        assert length <= MAX_SENT
        payload += data[at : at + length]
        data = data[at + length :]
    assert payload == b"x" * size


REFUSED = {
    "HTTP/1.0": ("HTTP/1.1", "HTTP/1.0", 505),
    "HTTP/2.0": ("HTTP/1.1", "HTTP/2.0", 400),
    "POST": ("GET /", "POST /", 405),
    "lower-case method": ("GET /", "get /", 400),
    "no Upgrade": ("Upgrade: websocket\r\n", "", 426),
    "Upgrade to something else": ("Upgrade: websocket", "Upgrade: h2c", 426),
    "no Connection": ("Connection: Upgrade\r\n", "", 426),
    "Connection: close": ("Connection: Upgrade", "Connection: close", 426),
    "no version": ("Sec-WebSocket-Version: 13\r\n", "", 400),
    "old version": ("Version: 13", "Version: 8", 400),
    "next version": ("Version: 13", "Version: 14", 400),
    "two versions": ("Version: 13\r\n", "Version: 13\r\nSec-WebSocket-Version: 13\r\n", 400),
    "no key": (f"{_KEY_FIELD}\r\n", "", 400),
    "two keys": (_KEY_FIELD, f"{_KEY_FIELD}\r\n{_KEY_FIELD}", 400),
    "short key": ("AAAA==", "==", 400),
    "long key": ("AAAA==", "AAAAAAAA==", 400),
    "key that is no base64": ("AAAA==", "A*A*==", 400),
    "no colon": ("Host: x", "Host x", 400),
    "folded field": ("Host: x", "Host: x\r\n y", 400),
    "blank before colon": ("Host: x", "Host : x", 400),
    "control in a value": ("Host: x", "Host: \x01", 400),
    "lines that end in LF": ("\r\n", "\n", 400),
    "content": ("Host: x", "Host: x\r\nContent-Length: 5", 400),
    "chunked content": ("Host: x", "Host: x\r\nTransfer-Encoding: chunked", 400),
}


@pytest.mark.parametrize("name", REFUSED)
def test_openings_that_are_refused(name: str) -> None:
    old, new, status = REFUSED[name]
    assert old in OPENING
    data = OPENING.replace(old, new).encode() + frame(BINARY, A)
    for size in (1, len(data)):
        layer = WebSocketLayer()
        with pytest.raises(WebSocketRefused):
            received(layer, pieces(data, size))
        assert layer.output().startswith(b"HTTP/1.1 %d " % status)
        assert layer.closing


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("GET / ", "GET /any/path?and=query "),
        ("Upgrade: websocket", "UPGRADE: WebSocket"),
        ("Connection: Upgrade", "Connection: keep-alive, upgrade"),
        ("Connection: Upgrade", "Connection: keep-alive\r\nConnection: Upgrade"),
        ("Host: x", "Host: x\r\nOrigin: https://evil.example"),
        ("Host: x", "Host: x\r\nSec-WebSocket-Protocol: chat"),
        ("Host: x", "Host: x\r\nSec-WebSocket-Extensions: permessage-deflate"),
    ],
)
def test_openings_that_are_accepted(old: str, new: str) -> None:
    layer = WebSocketLayer()
    # Bytes that follow in the same read belong to the stream.
    data = OPENING.replace(old, new).encode() + frame(BINARY, A)
    assert received(layer, [data]) == A
    answer = layer.output()
    assert answer.startswith(b"HTTP/1.1 101 ")
    # RFC 6455 §1.3: the accept value of this key.
    assert b"\r\nSec-WebSocket-Accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\n" in answer
    assert b"Extensions" not in answer
    assert b"Protocol:" not in answer


async def test_a_request_through_strange_frames(tmp_path: Path) -> None:
    """Inner TLS and HTTP through a running proxy, in frames that are all legal."""

    async def polite(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_head(reader)
            writer.write(plain_answer(b"ok"))

    async with proxied(tmp_path, raw_upstream(polite)) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = proxy.client_tls().wrap_bio(incoming, outgoing, server_hostname=f"echo.{DOMAIN}")
        writer.write(OPENING.encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        pongs = 0

        async def exchange() -> None:
            nonlocal pongs
            data = outgoing.read()
            for number, byte in enumerate(data):
                kind = frame(CONT if number else BINARY, bytes((byte,)), more=True)
                writer.write(kind + frame(PING, b"%d" % number) + frame(CONT, more=True))
            if data:
                writer.write(frame(CONT, size=8))
            first, length = await reader.readexactly(2)
            if length > 125:
                length = int.from_bytes(await reader.readexactly(2 if length == 126 else 8), "big")
            data = await reader.readexactly(length)
            if first == 0x80 | PONG:
                pongs += 1
            else:
                assert first == 0x80 | BINARY
                incoming.write(data)

        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await exchange()
        tls.write(get())
        answer = b""
        while not answer.endswith(b"ok"):
            try:
                answer += tls.read()
            except ssl.SSLWantReadError:
                await exchange()
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert pongs > 100
        writer.close()
