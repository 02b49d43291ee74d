"""The usual opening handshake: accepted at once, as the library would accept it."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mcp_proxy.tunnel.websocket import WebSocketLayer, WebSocketRefused
from mcp_proxy.tunnel.ws_opening import usual_answer
from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

LINE = b"GET /any/path?x HTTP/1.1\r\n"
FIELDS = (
    b"Host: a.t.example\r\n",
    b"Upgrade: websocket\r\n",
    b"Connection: Upgrade\r\n",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    b"Sec-WebSocket-Version: 13\r\n",
)
USUAL = LINE + b"".join(FIELDS) + b"\r\n"
# As cloudflared sends it, with what an edge may add.
OF_CLOUDFLARED = (
    LINE
    + b"Host: 127.0.0.1:8080\r\nUser-Agent: Go-http-client/1.1\r\nAccept-Encoding: gzip\r\n"
    + b"Cf-Warp-Tag-Id: 5f9d\r\nSec-Websocket-Extensions: permessage-deflate\r\n"
    + FIELDS[3].replace(b"WebSocket", b"Websocket")
    + b"connection: Upgrade\r\nSec-Websocket-Version:13 \r\nUpgrade:\tWebSocket\r\n\r\n"
)
ACCEPT = b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"  # RFC 6455 §1.3

_PIECES = st.sampled_from(
    [
        *FIELDS,
        b"Origin: null\r\n",
        b"Sec-WebSocket-Protocol: a, b\r\n",
        b"Content-Length: 0\r\n",
        b"Content-Length: 1\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b" folded\r\n",
        b"a: b\r\n",
        b"a : b\r\n",
        b"a: \xff\r\n",
        b"a: \x00\r\n",
        b"a: b\rc\r\n",
        b"a: b\n",
        b"\r\n",
        b":",
        b"HTTP/1.0",
        b"POST ",
        b" ",
        b"=",
        b"\x7f",
    ]
)


def by_the_library(head: bytes) -> bytes:
    """The field of the answer that accepts *head*, or nothing."""
    protocol = ServerProtocol(extensions=None)
    protocol.receive_data(head)
    for event in protocol.events_received():
        if isinstance(event, Request):
            protocol.send_response(protocol.accept(event))
    if protocol.state is not OPEN:
        return b""
    return accept_of(b"".join(protocol.data_to_send()))


def accept_of(answer: bytes) -> bytes:
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert answer.endswith(b"\r\n\r\n")
    lines = answer.split(b"\r\n")
    assert b"Upgrade: websocket" in lines
    assert b"Connection: Upgrade" in lines
    (accept,) = (line for line in lines if line.startswith(b"Sec-WebSocket-Accept:"))
    return accept


@pytest.mark.parametrize("head", [USUAL, OF_CLOUDFLARED], ids=["usual", "cloudflared"])
def test_the_usual_is_accepted(head: bytes) -> None:
    assert ACCEPT in usual_answer(head)
    assert accept_of(usual_answer(head)) == by_the_library(head)


@given(
    head=st.sampled_from([USUAL, OF_CLOUDFLARED]),
    changes=st.lists(
        st.tuples(st.integers(0, 400), st.integers(0, 30), _PIECES | st.binary(max_size=3)),
        min_size=1,
        max_size=4,
    ),
)
@example(USUAL, [(0, 4, b"POST ")])
@example(USUAL, [(len(LINE), 0, b"Transfer-Encoding: chunked\r\n")])
@example(USUAL, [(len(LINE), len(FIELDS[0]), b"")])
def test_it_accepts_nothing_that_the_library_refuses(
    head: bytes, changes: list[tuple[int, int, bytes]]
) -> None:
    for place, length, piece in changes:
        head = head[:place] + piece + head[place + length :]
    answer = usual_answer(head)
    if answer:
        assert accept_of(answer) == by_the_library(head)


@pytest.mark.parametrize("missing", FIELDS)
def test_nothing_may_be_missing_or_there_twice(missing: bytes) -> None:
    assert usual_answer(USUAL.replace(missing, b"")) == b""
    assert usual_answer(USUAL.replace(missing, missing * 2)) == b""


@pytest.mark.parametrize(
    "extra",
    [
        b"Origin: https://x.example\r\n",
        b"Content-Length: 0\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Sec-WebSocket-Protocol: mcp\r\n",
        b"a: b\r\n" * 64,
        b"a: " + b"b" * 4096 + b"\r\n",
    ],
)
def test_the_library_judges_what_is_unusual(extra: bytes) -> None:
    assert usual_answer(LINE + extra + b"".join(FIELDS) + b"\r\n") == b""


def test_bytes_that_follow_the_handshake_are_payload() -> None:
    layer = WebSocketLayer()
    assert layer.receive(USUAL + b"\x82\x81\0\0\0\0x") == [b"x"]
    assert ACCEPT in layer.output()


def test_a_refusal_is_for_the_usual_as_well() -> None:
    layer = WebSocketLayer("Too many connections")
    with pytest.raises(WebSocketRefused):
        layer.receive(USUAL)
    assert layer.output().startswith(b"HTTP/1.1 503 ")
