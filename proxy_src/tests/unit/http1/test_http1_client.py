"""Reading an upstream's responses, as h11 and others write them."""

from __future__ import annotations

import h11
import pytest
from fakes import PLACES, cuts, feed
from hypothesis import given
from hypothesis import strategies as st
from mcp_proxy.http.messages import Headers, ResponseHead
from mcp_proxy.http1.client import ResponseError, ResponseReader


class Seen:
    """Collects the reader's calls."""

    def __init__(self) -> None:
        self.interim: list[int] = []
        self.head: ResponseHead | None = None
        self.body = b""
        self.trailers: Headers | None = None

    def response_interim(self, status: int, headers: Headers) -> None:
        self.interim.append(status)

    def response_head(self, head: ResponseHead) -> None:
        assert self.head is None
        self.head = head

    def response_body(self, data: bytes) -> None:
        self.body += data

    def response_end(self, trailers: Headers) -> None:
        assert self.trailers is None
        self.trailers = trailers


def read(
    data: bytes, method: bytes = b"GET", places: list[int] | None = None, eof: bool = False
) -> tuple[Seen, ResponseReader]:
    reader, seen = ResponseReader(), Seen()
    reader.begin(seen, method)
    feed(reader.receive, cuts(data, places or []))
    if eof:
        reader.eof()
    return seen, reader


@given(
    bodies=st.lists(st.binary(max_size=2000), min_size=1, max_size=4),
    chunked=st.booleans(),
    places=PLACES,
)
def test_responses_of_h11_on_one_connection(
    bodies: list[bytes], chunked: bool, places: list[int]
) -> None:
    reader = ResponseReader()
    for body in bodies:
        server = h11.Connection(h11.SERVER)
        server.receive_data(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        server.next_event()
        server.next_event()
        headers = [] if chunked else [("Content-Length", str(len(body)))]
        wire = server.send(h11.InformationalResponse(status_code=103, headers=[])) or b""
        wire += server.send(h11.Response(status_code=201, headers=headers)) or b""
        for part in cuts(body, places):
            wire += server.send(h11.Data(data=part)) or b""
        wire += server.send(h11.EndOfMessage()) or b""
        seen = Seen()
        reader.begin(seen, b"GET")
        feed(reader.receive, cuts(wire, places))
        assert seen.interim == [103]
        assert seen.head is not None
        assert seen.head.status == 201
        assert seen.head.length == (None if chunked else len(body))
        assert seen.body == body
        assert seen.trailers == []
        assert reader.reusable


def test_trailers() -> None:
    seen, _ = read(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-T: v\r\n\r\n"
    )
    assert seen.trailers == [(b"X-T", b"v")]


@pytest.mark.parametrize(
    ("method", "head"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        (b"HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
    ],
)
def test_responses_without_content(method: bytes, head: bytes) -> None:
    seen, reader = read(head, method)
    assert seen.trailers == []
    assert reader.reusable
    again = Seen()
    reader.begin(again, b"GET")
    reader.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert again.body == b"ok"
    assert again.trailers == []


def test_content_until_the_connection_ends() -> None:
    seen, reader = read(b"HTTP/1.0 200 OK\r\n\r\nall of it", eof=True)
    assert seen.body == b"all of it"
    assert seen.trailers == []
    assert not reader.reusable


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
             b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"],
)  # fmt: skip
def test_a_connection_that_will_close_is_not_reusable(head: bytes) -> None:
    seen, reader = read(head)
    assert seen.trailers == []
    assert not reader.reusable


@pytest.mark.parametrize("more", [b"H", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"])
def test_nothing_may_follow_a_response(more: bytes) -> None:
    with pytest.raises(ResponseError, match="after the end of the response"):
        read(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" + more)


def test_keep_alive_timeout_is_noted() -> None:
    head = b"HTTP/1.1 200 OK\r\nKeep-Alive: max=9, timeout=5\r\nContent-Length: 0\r\n\r\n"
    assert read(head)[1].keep_alive_seconds == 5


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 200 O",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n",
    ],
)
def test_a_response_cut_short_is_an_error(data: bytes) -> None:
    with pytest.raises(ResponseError, match="before the response was complete"):
        read(data, eof=True)


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\0c\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"a" * 200_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 200 OK\r\n\r\n",
    ],
    ids=["garbage", "both", "two", "coding", "nul", "101", "large", "second response"],
)
def test_bad_responses(data: bytes) -> None:
    with pytest.raises(ResponseError):
        read(data, places=list(range(0, len(data), 16384)))


def test_data_without_a_request_is_an_error() -> None:
    with pytest.raises(ResponseError):
        ResponseReader().receive(b"HTTP/1.1 408 Request Timeout\r\n\r\n")


def test_the_content_of_many_small_chunks_is_handed_on_together() -> None:
    class Parts(Seen):
        parts = 0

        def response_body(self, data: bytes) -> None:
            super().response_body(data)
            self.parts += 1

    reader, seen = ResponseReader(), Parts()
    reader.begin(seen, b"GET")
    reader.receive(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    reader.receive(b"1\r\nx\r\n" * 1000)
    assert (seen.body, seen.parts) == (b"x" * 1000, 1)
    reader.receive(b"1\r\ny\r\n" * 500 + b"0\r\n\r\n")
    assert (seen.body, seen.parts) == (b"x" * 1000 + b"y" * 500, 2)
    assert seen.trailers == []


def test_what_came_before_garbage_is_handed_on() -> None:
    reader, seen = ResponseReader(), Seen()
    reader.begin(seen, b"GET")
    with pytest.raises(ResponseError):
        reader.receive(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\nzz\r\n")
    assert seen.body == b"x"


def test_blanks_around_values_are_no_part_of_them() -> None:
    heads: list[Headers] = []

    class Keeping(Seen):
        def response_interim(self, status: int, headers: Headers) -> None:
            heads.append(list(headers))

    reader, seen = ResponseReader(), Keeping()
    reader.begin(seen, b"GET")
    reader.receive(
        b"HTTP/1.1 103 Early Hints\r\nLink: a \t\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nMcp-Session-Id: \t abc \r\nX-Empty:  \r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
        b"0\r\nX-Sum: 1 2 \r\n\r\n"
    )
    assert heads == [[(b"Link", b"a")]]
    assert seen.head is not None
    assert seen.head.headers[:2] == [(b"Mcp-Session-Id", b"abc"), (b"X-Empty", b"")]
    assert seen.trailers == [(b"X-Sum", b"1 2")]
