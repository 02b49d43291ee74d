"""The WebSocket layer against the client side of the websockets library."""

from __future__ import annotations

import contextlib

import pytest
from fakes import PLACES, cuts
from hypothesis import given
from hypothesis import strategies as st
from mcp_proxy.tunnel.websocket import MAX_FRAME, WebSocketLayer, WebSocketRefused
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def handshake(**options: object) -> tuple[ClientProtocol, WebSocketLayer]:
    client = ClientProtocol(parse_uri("ws://127.0.0.1:8080/any/path?x"), max_size=None, **options)
    client.send_request(client.connect())
    layer = WebSocketLayer()
    for data in client.data_to_send():
        assert layer.receive(data) == []
    client.receive_data(layer.output())
    client.events_received()
    assert client.handshake_exc is None
    return client, layer


def sent(client: ClientProtocol) -> bytes:
    return b"".join(client.data_to_send())


def payload(layer: WebSocketLayer, *parts: bytes) -> bytes:
    return b"".join(bytes(piece) for part in parts for piece in layer.receive(part))


def frames(client: ClientProtocol, data: bytes) -> list[Frame]:
    client.receive_data(data)
    return [event for event in client.events_received() if isinstance(event, Frame)]


@given(messages=st.lists(st.binary(max_size=300), max_size=8), places=PLACES)
def test_payload_arrives_whatever_the_chunks(messages: list[bytes], places: list[int]) -> None:
    client, layer = handshake()
    for message in messages:
        client.send_binary(message)
    assert payload(layer, *cuts(sent(client), places)) == b"".join(messages)


@given(places=PLACES)
def test_handshake_in_pieces(places: list[int]) -> None:
    client = ClientProtocol(parse_uri("ws://127.0.0.1:8080/"))
    client.send_request(client.connect())
    layer = WebSocketLayer()
    for part in cuts(sent(client), places):
        if part:
            layer.receive(part)
    assert layer.output().startswith(b"HTTP/1.1 101 ")


def test_a_message_may_be_longer_than_any_frame() -> None:
    client, layer = handshake()
    client.send_binary(b"a" * MAX_FRAME, fin=False)
    client.send_continuation(b"b" * MAX_FRAME, fin=False)
    client.send_continuation(b"c", fin=True)
    assert len(payload(layer, sent(client))) == 2 * MAX_FRAME + 1
    assert not layer.closing


def test_a_frame_that_is_too_large_closes_with_1009() -> None:
    client, layer = handshake()
    client.send_binary(b"a" * (MAX_FRAME + 1))
    assert payload(layer, sent(client)) == b""
    assert layer.closing
    assert client.close_code is None
    frames(client, layer.output())
    assert client.close_rcvd is not None
    assert client.close_rcvd.code == 1009


def test_text_is_refused_with_1003() -> None:
    client, layer = handshake()
    client.send_binary(b"before")
    client.send_text(b"text")
    assert payload(layer, sent(client)) == b"before"
    frames(client, layer.output())
    assert client.close_rcvd is not None
    assert client.close_rcvd.code == 1003
    assert layer.closing
    assert layer.closed


def test_unmasked_frames_are_refused_with_1002() -> None:
    client, layer = handshake()
    layer.receive(Frame(Opcode.BINARY, b"x").serialize(mask=False))
    frames(client, layer.output())
    assert client.close_rcvd is not None
    assert client.close_rcvd.code == 1002


def test_ping_between_fragments_is_answered() -> None:
    client, layer = handshake()
    client.send_binary(b"one", fin=False)
    client.send_ping(b"hello")
    client.send_continuation(b"two", fin=True)
    assert payload(layer, sent(client)) == b"onetwo"
    (pong,) = frames(client, layer.output())
    assert (pong.opcode, pong.data) == (Opcode.PONG, b"hello")


@given(data=st.binary(min_size=1, max_size=200_000))
def test_what_is_sent_arrives(data: bytes) -> None:
    client, layer = handshake()
    layer.send(data)
    received = frames(client, layer.output())
    assert b"".join(frame.data for frame in received) == data
    assert all(frame.opcode is Opcode.BINARY and frame.fin for frame in received)


def test_closing_handshake_begun_by_the_client() -> None:
    client, layer = handshake()
    client.send_binary(b"last")
    client.send_close(1000)
    assert payload(layer, sent(client)) == b"last"
    assert layer.closing
    assert layer.closed
    (close,) = frames(client, layer.output())
    assert close.opcode is Opcode.CLOSE
    layer.send(b"too late")
    assert layer.output() == b""


def test_closing_handshake_begun_by_the_proxy() -> None:
    client, layer = handshake()
    layer.close()
    assert layer.closing
    assert not layer.closed
    frames(client, layer.output())
    assert payload(layer, sent(client)) == b""
    assert layer.closed


def test_compression_is_not_negotiated() -> None:
    client, layer = handshake(extensions=[ClientPerMessageDeflateFactory()])
    assert client.extensions == []
    client.send_binary(b"plain")
    assert payload(layer, sent(client)) == b"plain"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 426),
        (
            b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\n\r\n",
            400,
        ),
        (
            b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 8\r\n\r\n",
            400,
        ),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"\r\n\r\n", 400),
        (b"HELLO\r\n\r\n", 400),
    ],
    ids=["plain http", "no key", "old version", "tls", "blank", "not http"],
)
def test_what_is_no_websocket_gets_an_http_error(request_bytes: bytes, status: int) -> None:
    layer = WebSocketLayer()
    with pytest.raises(WebSocketRefused):
        layer.receive(request_bytes)
    answer = layer.output()
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nConnection: close\r\n" in answer
    assert not layer.open


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: " + b"a" * 10_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: a\r\n" * 200 + b"\r\n",
        b"A" * 10_000,
    ],
    ids=["long target", "long field", "many fields", "endless line"],
)
def test_an_oversized_handshake_is_refused(head: bytes) -> None:
    layer = WebSocketLayer()
    with pytest.raises(WebSocketRefused, match="128 header fields, or a line of more than 8 kB"):
        layer.receive(head)
    assert layer.output()[9:12] == (b"431" if b"\r\nA" in head else b"414")


@pytest.mark.parametrize(
    ("count", "size", "taken"), [(128, 8192, True), (129, 80, False), (99, 8194, False)]
)
def test_how_large_a_handshake_may_be(count: int, size: int, taken: bool) -> None:
    lines = UPGRADE.split(b"\r\n")[:-2]
    lines += [b"A: ".ljust(size - 2, b"a")] + [b"B: b"] * (count - len(lines))
    layer = WebSocketLayer()
    with contextlib.nullcontext() if taken else pytest.raises(WebSocketRefused):
        layer.receive(b"\r\n".join([*lines, b"", b""]))
    assert layer.open is taken


def test_refusal_is_told_with_503() -> None:
    client = ClientProtocol(parse_uri("ws://127.0.0.1:8080/"))
    client.send_request(client.connect())
    layer = WebSocketLayer(refusal="Too many connections")
    with pytest.raises(WebSocketRefused):
        layer.receive(sent(client))
    answer = layer.output()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"Too many connections" in answer
