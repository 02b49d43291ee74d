"""HTTP/1.1 towards the client, with h11 as the other side."""

from __future__ import annotations

from typing import Any

import h11
import pytest
from fakes import PLACES, FakeConnection, FakeHandler, Requests, cuts, feed
from hypothesis import given
from hypothesis import strategies as st
from mcp_proxy.config.model import Limits
from mcp_proxy.http.messages import BUSY, HEAD, IDLE, ClientStream, RequestHead, ResponseHead
from mcp_proxy.http1.server import Http1Server

GET = b"GET /a?b=c HTTP/1.1\r\nHost: x.example\r\n\r\n"


def server(
    requests: Requests | None = None, limits: Limits | None = None
) -> tuple[Http1Server, Requests, FakeConnection]:
    requests = Requests() if requests is None else requests
    connection = FakeConnection()
    return Http1Server(requests, connection, limits or Limits()), requests, connection


def sent(layer: Http1Server) -> bytes:
    return b"".join(layer.output())


def status(answer: bytes) -> int:
    assert answer.startswith(b"HTTP/1.1 "), answer
    return int(answer[9:12])


def responses(data: bytes, *methods: str) -> list[tuple[h11.Response, bytes, list[Any]]]:
    """Return *data* as h11 reads it: the answers to requests with *methods*."""
    client = h11.Connection(h11.CLIENT)
    client.receive_data(data)
    found = []
    for method in methods:
        client.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
        client.send(h11.EndOfMessage())
        body, head, trailers = b"", None, []
        while not isinstance(event := client.next_event(), h11.EndOfMessage):
            assert event is not h11.NEED_DATA, data
            if isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
        trailers = list(event.headers)
        assert head is not None
        found.append((head, body, trailers))
        if client.our_state is h11.DONE and client.their_state is h11.DONE:
            client.start_next_cycle()
    return found


@given(
    bodies=st.lists(st.binary(max_size=3000), min_size=1, max_size=4),
    chunked=st.booleans(),
    places=PLACES,
)
def test_requests_of_h11_arrive_whole(
    bodies: list[bytes], chunked: bool, places: list[int]
) -> None:
    client = h11.Connection(h11.CLIENT)
    wire = b""
    for body in bodies:
        framing = ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", len(body))
        headers = [("Host", "x.example"), (framing[0], str(framing[1])), ("X-A", "b")]
        wire += client.send(h11.Request(method="POST", target="/p?q", headers=headers)) or b""
        for part in cuts(body, places):
            wire += client.send(h11.Data(data=part)) or b""
        wire += client.send(h11.EndOfMessage()) or b""
        client = h11.Connection(h11.CLIENT)
    layer, requests, _ = server(Requests(answer=b"ok"))
    feed(layer.receive, cuts(wire, places))
    assert [handler.body for handler in requests] == bodies
    for handler in requests:
        head = handler.head
        assert (head.method, head.target, head.authority) == (b"POST", b"/p?q", b"x.example")
        assert (b"X-A", b"b") in head.headers
        assert handler.trailers == []
    answers = responses(sent(layer), *["POST"] * len(bodies))
    assert [body for _, body, _ in answers] == [b"ok"] * len(bodies)
    assert layer.phase == IDLE
    assert not layer.finished


@given(parts=st.lists(st.binary(max_size=3000), max_size=5))
def test_h11_understands_a_response_of_unknown_length(parts: list[bytes]) -> None:
    layer, requests, _ = server()
    layer.receive(GET)
    stream = requests[0].stream
    stream.send_head(ResponseHead(200, [(b"Trailer", b"X-Sum")], None))
    for part in parts:
        stream.send_body(part)
    stream.send_end([(b"X-Sum", b"42")])
    ((_, body, trailers),) = responses(sent(layer), "GET")
    assert body == b"".join(parts)
    assert trailers == [(b"x-sum", b"42")]
    assert layer.phase == IDLE


def test_pipelined_requests_are_answered_in_order() -> None:
    layer, requests, _ = server()
    layer.receive(b"".join(GET.replace(b"/a", b"/%d" % number) for number in range(3)))
    assert [handler.head.target for handler in requests] == [b"/0?b=c"]
    assert not layer.wants_input
    requests[0].reply(b"zero")
    assert [handler.head.target for handler in requests] == [b"/0?b=c", b"/1?b=c"]
    requests[1].reply(b"one")
    requests[2].reply(b"two")
    assert layer.wants_input
    bodies = [body for _, body, _ in responses(sent(layer), "GET", "GET", "GET")]
    assert bodies == [b"zero", b"one", b"two"]


def test_a_pipelined_request_keeps_its_content_and_trailers() -> None:
    layer, requests, _ = server()
    post = (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n2\r\nde\r\n0\r\nX-T: v\r\n\r\n"
    )
    layer.receive(GET + post)
    requests[0].reply(b"")
    assert requests[1].body == b"abcde"
    assert requests[1].trailers == [(b"X-T", b"v")]


def test_no_content_for_head_and_204_and_304() -> None:
    for method, code, length in ((b"HEAD", 200, 5), (b"GET", 204, None), (b"GET", 304, 5)):
        layer, requests, _ = server()
        layer.receive(GET.replace(b"GET", method))
        stream = requests[0].stream
        stream.send_head(ResponseHead(code, [], length))
        stream.send_end([])
        ((head, body, _),) = responses(sent(layer), method.decode())
        assert (head.status_code, body) == (code, b"")
        expected = [] if length is None else [(b"content-length", b"5")]
        assert list(head.headers) == expected
        assert layer.phase == IDLE


def test_http_10_gets_a_response_that_ends_with_the_connection() -> None:
    layer, requests, _ = server()
    layer.receive(b"GET / HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n")
    stream = requests[0].stream
    stream.send_interim(103, [])
    stream.send_head(ResponseHead(200, [], None))
    stream.send_body(b"abc")
    stream.send_end([])
    assert sent(layer) == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc"
    assert layer.finished


def test_connection_close_is_honoured() -> None:
    layer, requests, _ = server()
    layer.receive(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" + GET)
    requests[0].reply(b"bye")
    ((head, _, _),) = responses(sent(layer), "GET")
    assert (b"connection", b"close") in head.headers
    assert len(requests) == 1
    assert layer.finished


def test_continue_is_passed_on() -> None:
    layer, requests, _ = server()
    layer.receive(
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    )
    assert (b"Expect", b"100-continue") in requests[0].head.headers
    requests[0].stream.send_interim(100, [])
    assert sent(layer) == b"HTTP/1.1 100 Continue\r\n\r\n"
    layer.receive(b"ok")
    assert requests[0].body == b"ok"
    requests[0].reply(b"fine")
    assert not layer.finished


def test_a_final_answer_instead_of_continue_closes() -> None:
    layer, requests, _ = server()
    layer.receive(
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    )
    requests[0].reply(b"no", status=403)
    assert b"Connection: close" in sent(layer)
    assert layer.finished


def test_content_after_an_early_answer_is_discarded() -> None:
    layer, requests, _ = server()
    layer.receive(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc")
    requests[0].reply(b"early", status=401)
    layer.receive(b"def" + GET)
    assert requests[0].body == b"abc"
    assert len(requests) == 2
    assert not layer.finished


def test_much_content_after_an_early_answer_closes() -> None:
    layer, requests, _ = server()
    layer.receive(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n")
    requests[0].reply(b"early", status=413)
    feed(layer.receive, [b"x" * 16384] * 20)
    assert layer.finished


def test_held_content_stops_the_input() -> None:
    layer, requests, _ = server()
    layer.receive(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc")
    requests[0].stream.hold()
    assert not layer.wants_input
    requests[0].stream.release()
    assert layer.wants_input
    requests[0].stream.hold()
    requests[0].reply(b"early")
    assert layer.wants_input


def test_the_upstream_is_held_back_until_output_is_fetched() -> None:
    layer, requests, _ = server()
    layer.receive(GET)
    stream = requests[0].stream
    stream.send_head(ResponseHead(200, [], None))
    stream.send_body(b"x" * 600_000)
    assert requests[0].paused
    layer.output()
    assert not requests[0].paused
    layer.pause_output()
    assert requests[0].paused
    layer.output()
    assert requests[0].paused
    layer.resume_output()
    assert not requests[0].paused


def test_a_response_cut_short_cuts_the_connection() -> None:
    layer, requests, connection = server()
    layer.receive(GET)
    stream = requests[0].stream
    stream.send_head(ResponseHead(200, [], None))
    stream.send_body(b"half")
    stream.abort()
    assert connection.aborted
    assert not sent(layer).endswith(b"0\r\n\r\n")


def test_all_requests_learn_that_the_client_is_gone() -> None:
    layer, requests, _ = server()
    layer.receive(GET + GET)
    layer.client_gone()
    assert [handler.gone for handler in requests] == [True]
    requests[0].stream.release()
    assert len(requests) == 1


def test_draining_finishes_the_request_in_flight() -> None:
    layer, requests, _ = server()
    layer.receive(GET)
    layer.drain()
    assert not layer.finished
    requests[0].reply(b"last")
    ((head, _, _),) = responses(sent(layer), "GET")
    assert (b"connection", b"close") in head.headers
    assert layer.finished


def test_draining_an_idle_connection_ends_it() -> None:
    layer, _, _ = server()
    layer.drain()
    assert layer.finished


def test_phases() -> None:
    layer, requests, _ = server()
    assert layer.phase == IDLE
    layer.receive(GET[:10])
    assert layer.phase == HEAD
    layer.receive(GET[10:])
    assert layer.phase == BUSY
    requests[0].reply(b"")
    assert layer.phase == IDLE


def test_a_head_that_takes_too_long_is_answered_408() -> None:
    layer, _, _ = server()
    layer.receive(GET[:10])
    layer.head_overdue()
    assert status(sent(layer)) == 408
    assert layer.finished


def test_absolute_form_outranks_host() -> None:
    layer, requests, _ = server()
    layer.receive(b"GET http://other.example/p?q HTTP/1.1\r\nHost: x\r\n\r\n")
    head = requests[0].head
    assert (head.authority, head.target) == (b"other.example", b"/p?q")


HOST = b"Host: x\r\n"
BAD = {
    "both lengths": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n"
                     b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "both lengths, other order": (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n"
                                  b"Content-Length: 3\r\n\r\n0\r\n\r\n", 400),
    "two lengths": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n"
                    b"Content-Length: 4\r\n\r\nabc", 400),
    "same length twice": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n"
                          b"Content-Length: 3\r\n\r\nabc", 400),
    "list of lengths": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3, 3\r\n\r\nabc", 400),
    "signed length": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: +3\r\n\r\nabc", 400),
    "hex length": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 0x3\r\n\r\nabc", 400),
    "huge length": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 99999999999999999999\r\n\r\n",
                    400),
    "unknown coding": (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip\r\n\r\n", 501),
    "coding before chunked": (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked"
                              b"\r\n\r\n0\r\n\r\n", 501),
    "chunked not last": (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked, gzip"
                         b"\r\n\r\n0\r\n\r\n", 400),
    "chunked twice": (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n"
                      b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "obfuscated coding": (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: \x0bchunked"
                          b"\r\n\r\n0\r\n\r\n", 400),
    "blank before colon": (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding : chunked"
                           b"\r\n\r\n0\r\n\r\n", 400),
    "coding in 1.0": (b"POST / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked"
                      b"\r\n\r\n0\r\n\r\n", 501),
    "bare line feeds": (b"GET / HTTP/1.1\n" + b"Host: x\n\n", 400),
    "bare carriage return": (b"GET / HTTP/1.1\r\n" + HOST + b"A: b\rC: d\r\n\r\n", 400),
    "nul in a value": (b"GET / HTTP/1.1\r\n" + HOST + b"A: b\0c\r\n\r\n", 400),
    "folded line": (b"GET / HTTP/1.1\r\n" + HOST + b"A: b\r\n c\r\n\r\n", 400),
    "first line folded": (b"GET / HTTP/1.1\r\n A: b\r\n" + HOST + b"\r\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400),
    "bad host": (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    "host with userinfo": (b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
    "bad target": (b"GET a HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "authority form": (b"CONNECT x:1 HTTP/1.1\r\n" + HOST + b"\r\n", 501),
    "bad method": (b"GE\x01T / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "bad version": (b"GET / HTTP/3.7\r\n" + HOST + b"\r\n", 400),
    "no version": (b"GET /\r\n\r\n", 505),
    "http/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
}  # fmt: skip


@pytest.mark.parametrize(("data", "expected"), BAD.values(), ids=list(BAD))
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_bad_requests_are_refused(data: bytes, expected: int, size: int) -> None:
    layer, requests, _ = server()
    feed(layer.receive, [data[at : at + size] for at in range(0, len(data), size)])
    assert status(sent(layer)) == expected
    assert layer.finished
    assert requests == []
    layer.receive(GET)
    assert sent(layer) == b""


CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "chunks",
    [
        b"5;a=\nb\r\nhello\r\n0\r\n\r\n",
        b"5\nhello\n0\n\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"-1\r\n\r\n",
        b"5 \r\nhello\r\n0\r\n\r\n",
        b"5\r\nhelloX\r\n0\r\n\r\n",
        b"fffffffffffffffff\r\n",
        b"\r\n5\r\nhello\r\n0\r\n\r\n",
        b"0\r\nA b: c\r\n\r\n",
    ],
)
def test_bad_chunks_end_the_connection(chunks: bytes) -> None:
    layer, requests, _ = server()
    layer.receive(CHUNKED + chunks)
    assert status(sent(layer)) == 400
    assert layer.finished
    assert requests[0].gone
    assert requests[0].trailers is None


def test_a_bad_request_is_answered_after_those_before_it() -> None:
    layer, requests, _ = server()
    layer.receive(GET + b"nonsense\r\n\r\n")
    assert sent(layer) == b""
    requests[0].reply(b"good")
    answer = sent(layer)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert status(answer[answer.index(b"good") + 4 :]) == 400
    assert layer.finished


SMALL = Limits(max_header_bytes=1000)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 1000 + b"\r\n\r\n",
        b"GET /" + b"a" * 1000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: a\r\n" * 200 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 3000,
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A" * 3000,
        b"\r\n" * 2000,
    ],
    ids=["value", "target", "many", "endless value", "endless name", "endless blank"],
)
def test_large_heads_are_refused_with_431(data: bytes) -> None:
    layer, requests, _ = server(limits=SMALL)
    feed(layer.receive, [data[at : at + 100] for at in range(0, len(data), 100)])
    assert status(sent(layer)) == 431
    assert layer.finished
    assert requests == []


@pytest.mark.parametrize("tail", [b"A: " + b"a" * 3000, b"A: a\r\n" * 300])
def test_large_trailers_are_refused(tail: bytes) -> None:
    layer, requests, _ = server(limits=SMALL)
    data = CHUNKED + b"1\r\na\r\n0\r\n" + tail
    feed(layer.receive, [data[at : at + 100] for at in range(0, len(data), 100)])
    assert status(sent(layer)) == 431
    assert requests[0].gone


@given(noise=st.binary(max_size=400), places=PLACES)
def test_no_input_breaks_the_layer(noise: bytes, places: list[int]) -> None:
    layer, _, _ = server(Requests(answer=b"ok"))
    feed(layer.receive, cuts(GET + noise + GET, places))
    assert sent(layer).startswith(b"HTTP/1.1 200 ")


def test_hundreds_of_pipelined_requests_that_are_answered_at_once() -> None:
    class Prompt(Requests):
        def __call__(self, head: RequestHead, stream: ClientStream) -> FakeHandler:
            handler = super().__call__(head, stream)
            if len(self) > 1:
                handler.reply(b"at once")
            return handler

    layer, requests, connection = server(Prompt())
    layer.receive(GET * 400)
    requests[0].reply(b"later")
    out = b""
    turns = 0
    while connection.woken:  # some in each turn of the event loop, so that others have theirs
        connection.woken = False
        begun = len(requests)
        out += sent(layer)
        turns += 1
        assert len(requests) <= begun + 16
    assert turns >= 24
    assert len(requests) == 400
    assert out.count(b"at once") == 399
    assert layer.phase == IDLE
    assert layer.served == 400
