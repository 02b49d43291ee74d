"""Switching protocols: the offer to an upstream, and the connection after its answer."""

from __future__ import annotations

import pytest
from fakes import PLACES, FakeConnection, FakeHandler, Requests, cuts, feed
from hypothesis import given
from hypothesis import strategies as st
from mcp_proxy.config.model import Limits
from mcp_proxy.http.forwarding import request_bytes
from mcp_proxy.http.messages import BUSY, Headers, RequestHead, ResponseHead
from mcp_proxy.http1.client import ResponseError, ResponseReader
from mcp_proxy.http1.server import Http1Server

HOST = b"Host: x.example\r\n"
WISH = (
    b"GET /chat HTTP/1.1\r\n" + HOST + b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
)
UPGRADE = WISH + b"Sec-WebSocket-Key: k\r\n\r\n"
H2C = (
    b"GET /h2c HTTP/1.1\r\n"
    + HOST
    + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n\r\n"
)
GET = b"GET /next HTTP/1.1\r\n" + HOST + b"\r\n"
SWITCH = ResponseHead(101, [(b"Sec-WebSocket-Accept", b"a")], None)


def server(answer: bytes | None = None) -> tuple[Http1Server, Requests]:
    requests = Requests(answer)
    return Http1Server(requests, FakeConnection(), Limits()), requests


def sent(layer: Http1Server) -> bytes:
    return b"".join(layer.output())


def switched() -> tuple[Http1Server, FakeHandler]:
    layer, requests = server()
    layer.receive(UPGRADE)
    (handler,) = requests
    handler.stream.send_head(SWITCH)
    sent(layer)
    return layer, handler


@given(early=st.binary(max_size=300), late=st.binary(max_size=300), places=PLACES)
def test_after_101_bytes_pass_as_they_are(early: bytes, late: bytes, places: list[int]) -> None:
    """At any split of the reads, and even if the client did not wait for the answer."""
    layer, requests = server()
    feed(layer.receive, cuts(UPGRADE + early, places))
    (handler,) = requests
    assert handler.head.upgrade == b"websocket"
    assert handler.trailers == []  # the request is complete
    assert handler.body == b""
    assert not layer.wants_input
    handler.stream.send_head(SWITCH)
    assert layer.wants_input
    assert sent(layer) == (
        b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: a\r\n"
        b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    feed(layer.receive, cuts(late, places))
    assert handler.body == early + late
    handler.stream.send_body(late)
    assert sent(layer) == late
    assert layer.phase == BUSY
    assert not layer.finished
    handler.stream.send_end([])
    assert layer.finished


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_an_ordinary_answer_leaves_the_connection_as_it_was(size: int) -> None:
    layer, requests = server()
    data = UPGRADE + GET + GET
    feed(layer.receive, [data[at : at + size] for at in range(0, len(data), size)])
    assert len(requests) == 1
    requests[0].reply(b"no", status=403)
    requests[1].reply(b"next")
    requests[2].reply(b"last")
    assert [handler.head.target for handler in requests] == [b"/chat", b"/next", b"/next"]
    answers = sent(layer)
    assert answers.startswith(b"HTTP/1.1 403 ")
    assert answers.count(b"HTTP/1.1 ") == 3
    assert not layer.finished
    layer.receive(UPGRADE + b"more")
    requests[3].stream.send_head(SWITCH)
    assert requests[3].body == b"more"


def test_a_wish_behind_another_request_waits_for_its_turn() -> None:
    layer, requests = server()
    layer.receive(GET + UPGRADE + b"frame")
    assert len(requests) == 1
    requests[0].reply(b"first")
    requests[1].stream.send_head(SWITCH)
    assert requests[1].body == b"frame"


NOT_OFFERED = {
    "h2c": H2C,
    "unknown": WISH.replace(b"websocket", b"foo/2") + b"\r\n",
    "other method": WISH.replace(b"GET", b"OPTIONS") + b"\r\n",
    "not named in Connection": b"GET / HTTP/1.1\r\n" + HOST + b"Upgrade: websocket\r\n\r\n",
}


@pytest.mark.parametrize("data", NOT_OFFERED.values(), ids=list(NOT_OFFERED))
@pytest.mark.parametrize("size", [1, 10_000])
def test_other_wishes_make_ordinary_requests(data: bytes, size: int) -> None:
    layer, requests = server(answer=b"ok")
    data += GET
    feed(layer.receive, [data[at : at + size] for at in range(0, len(data), size)])
    assert [handler.head.upgrade for handler in requests] == [b"", b""]
    assert requests[1].head.target == b"/next"
    head = request_bytes(requests[0].head, b"127.0.0.1", b"x.example").lower()
    for name in (b"upgrade", b"connection", b"http2-settings"):
        assert name not in head
    assert not layer.finished


def test_http_1_0_has_no_upgrade() -> None:
    layer, requests = server(answer=b"ok")
    layer.receive(UPGRADE.replace(b"HTTP/1.1", b"HTTP/1.0") + GET)
    (handler,) = requests
    assert handler.head.upgrade == b""
    assert layer.finished


@pytest.mark.parametrize("protocol", [b"websocket", b"h2c"])
@pytest.mark.parametrize(
    "framing", [b"Content-Length: 27\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n1b\r\n"]
)
def test_content_is_never_taken_for_a_request(protocol: bytes, framing: bytes) -> None:
    """The parser stops before the content, or it would take the content for a second request."""
    hidden = b"GET /hidden HTTP/1.1\r\nA: b"
    layer, requests = server(answer=b"ok")
    layer.receive(WISH.replace(b"websocket", protocol) + framing + hidden + b"\r\n\r\n")
    assert requests == []
    assert sent(layer).startswith(b"HTTP/1.1 501 ")
    assert layer.finished


def test_many_wishes_in_one_read_need_no_deep_stack() -> None:
    layer, requests = server(answer=b"ok")
    layer.receive(H2C * 2000)
    assert len(requests) == 2000


def test_pace_in_both_directions() -> None:
    layer, handler = switched()
    handler.stream.hold()
    assert not layer.wants_input
    handler.stream.release()
    assert layer.wants_input
    handler.stream.send_body(b"x" * 600_000)
    assert handler.paused
    assert len(sent(layer)) == 600_000
    assert not handler.paused


def test_a_drain_lets_a_switched_connection_finish() -> None:
    layer, handler = switched()
    layer.drain()
    assert not layer.finished
    layer.receive(b"still here")
    assert handler.body == b"still here"
    handler.stream.send_end([])
    assert layer.finished


def test_what_an_upstream_is_asked() -> None:
    headers = [
        (b"Connection", b"keep-alive, Upgrade, X-Private"),
        (b"Upgrade", b"websocket, h2c"),
        (b"X-Private", b"1"),
        (b"Sec-WebSocket-Version", b"13"),
    ]
    head = RequestHead(b"GET", b"/", b"x", headers, 0, "1.1", b"websocket")
    lines = request_bytes(head, b"127.0.0.1", b"x").split(b"\r\n")
    assert b"Connection: Upgrade" in lines
    assert b"Upgrade: websocket" in lines
    assert b"Sec-WebSocket-Version: 13" in lines
    assert sum(line.lower().startswith((b"upgrade", b"connection")) for line in lines) == 2
    assert not any(b"private" in line.lower() for line in lines)


# -- the upstream's side -----------------------------------------------------------------------


class Seen:
    def __init__(self) -> None:
        self.head: ResponseHead | None = None
        self.body = b""
        self.ended = False

    def response_interim(self, status: int, headers: Headers) -> None:
        assert status != 101

    def response_head(self, head: ResponseHead) -> None:
        self.head = head

    def response_body(self, data: bytes) -> None:
        self.body += data

    def response_end(self, trailers: Headers) -> None:
        self.ended = True


ANSWER = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n"


def asked() -> tuple[ResponseReader, Seen]:
    reader, seen = ResponseReader(), Seen()
    reader.begin(seen, b"GET", b"websocket")
    return reader, seen


@given(
    content=st.binary(max_size=300),
    framing=st.sampled_from([b"", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n"]),
    places=PLACES,
)
def test_an_upstream_switches(content: bytes, framing: bytes, places: list[int]) -> None:
    reader, seen = asked()
    feed(reader.receive, cuts(ANSWER + framing + b"\r\n" + content, places))
    assert seen.head is not None
    assert (seen.head.status, seen.head.length) == (101, None)
    assert seen.body == content
    assert not seen.ended
    reader.eof()
    assert seen.ended
    assert not reader.reusable


def test_an_interim_response_may_come_before() -> None:
    reader, seen = asked()
    reader.receive(b"HTTP/1.1 103 Early Hints\r\n\r\n" + ANSWER + b"\r\nx")
    assert seen.body == b"x"


def test_an_upstream_that_does_not_switch() -> None:
    reader, seen = asked()
    reader.receive(
        b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nno"
    )
    assert seen.ended
    assert reader.reusable


@pytest.mark.parametrize(
    "answer",
    [
        ANSWER.replace(b"WebSocket", b"h2c"),
        ANSWER.replace(b"Upgrade: WebSocket\r\n", b""),
        ANSWER.replace(b"Connection: Upgrade\r\n", b""),
        ANSWER.replace(b"WebSocket", b"websocket, h2c"),
    ],
    ids=["another", "none", "no connection", "two"],
)
def test_an_upstream_switches_to_what_was_not_asked_for(answer: bytes) -> None:
    reader, seen = asked()
    with pytest.raises(ResponseError):
        reader.receive(answer + b"\r\n")
    assert seen.head is None


def test_the_next_request_does_not_inherit_the_wish() -> None:
    reader, seen = asked()
    reader.receive(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert seen.ended
    reader.begin(Seen(), b"GET")
    with pytest.raises(ResponseError, match="unasked"):
        reader.receive(ANSWER + b"\r\n")
