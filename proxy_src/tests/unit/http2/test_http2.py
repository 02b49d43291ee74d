"""HTTP/2 towards the client, with the client side of the h2 library as the other side."""

from __future__ import annotations

from collections import defaultdict

import pytest
from fakes import PLACES, FakeConnection, Requests, cuts, feed
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    InformationalResponseReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.settings import SettingCodes
from hypothesis import given
from hypothesis import strategies as st
from mcp_proxy.config.model import Limits
from mcp_proxy.http.messages import BUSY, IDLE, ResponseHead
from mcp_proxy.http2.server import Http2Server

BASE = [(":method", "GET"), (":scheme", "https"), (":authority", "x.example"), (":path", "/a?b")]
POST = [(":method", "POST"), *BASE[1:]]


class Pair:
    """A client and the layer, joined in memory."""

    def __init__(
        self, requests: Requests | None = None, limits: Limits | None = None, check: bool = True
    ) -> None:
        self.requests = Requests() if requests is None else requests
        self.connection = FakeConnection()
        self.layer = Http2Server(self.requests, self.connection, limits or Limits(), 5)
        config = H2Configuration(
            client_side=True, validate_outbound_headers=check, normalize_outbound_headers=check
        )
        self.client = H2Connection(config)
        self.client.initiate_connection()
        self.events: list[Event] = []
        self.status: dict[int, int] = {}
        self.bodies: dict[int, bytes] = defaultdict(bytes)
        self.ended: set[int] = set()
        self.resets: dict[int, int] = {}
        self.terminated: ConnectionTerminated | None = None

    def exchange(self, acknowledge: bool = True, places: list[int] | None = None) -> None:
        """Let both sides talk until neither has anything to say."""
        while True:
            out = self.client.data_to_send()
            feed(self.layer.receive, cuts(out, places or []))
            # As the connection does: a layer that does not ask to send does not get to send.
            back = b"".join(self.layer.output()) if self.connection.woken else b""
            self.connection.woken = False
            if not out and not back:
                return
            for event in self.client.receive_data(back):
                self.note(event, acknowledge)

    def note(self, event: Event, acknowledge: bool) -> None:
        self.events.append(event)
        if isinstance(event, ResponseReceived):
            self.status[event.stream_id] = int(dict(event.headers)[b":status"])
        elif isinstance(event, DataReceived):
            self.bodies[event.stream_id] += event.data
            if acknowledge:
                size = event.flow_controlled_length
                self.client.acknowledge_received_data(size, event.stream_id)
        elif isinstance(event, StreamEnded):
            self.ended.add(event.stream_id)
        elif isinstance(event, StreamReset):
            self.resets[event.stream_id] = event.error_code
        elif isinstance(event, ConnectionTerminated):
            self.terminated = event

    def request(self, fields: list[tuple[str, str]] = BASE, end: bool = True) -> int:
        number = self.client.get_next_available_stream_id()
        self.client.send_headers(number, fields, end_stream=end)
        return number


@given(body=st.binary(max_size=60_000), answer=st.binary(max_size=60_000), places=PLACES)
def test_a_request_and_its_answer(body: bytes, answer: bytes, places: list[int]) -> None:
    pair = Pair(Requests(answer=answer))
    number = pair.request([*POST, ("x-a", "b")], end=False)
    for part in cuts(body, places):
        for start in range(0, len(part), 16384):
            pair.client.send_data(number, part[start : start + 16384])
    pair.client.end_stream(number)
    pair.exchange(places=places)
    (handler,) = pair.requests
    head = handler.head
    assert (head.method, head.target, head.authority) == (b"POST", b"/a?b", b"x.example")
    assert head.headers == [(b"x-a", b"b")]
    assert head.length is None
    assert handler.body == body
    assert pair.status[number] == 200
    assert pair.bodies[number] == answer
    assert number in pair.ended
    assert pair.layer.phase == IDLE


def test_many_streams_share_the_connection() -> None:
    pair = Pair()
    numbers = [pair.request() for _ in range(100)]
    pair.exchange()
    assert pair.layer.requests == 100
    for index, handler in reversed(list(enumerate(pair.requests))):
        handler.reply(b"%d" % index * 100)
    pair.exchange()
    assert pair.bodies == {n: b"%d" % i * 100 for i, n in enumerate(numbers)}
    assert pair.ended == set(numbers)


def test_length_of_content() -> None:
    pair = Pair()
    pair.request()
    pair.request([*POST, ("content-length", "3")], end=False)
    pair.request(POST, end=False)
    pair.exchange()
    assert [handler.head.length for handler in pair.requests] == [0, 3, None]


def test_trailers_both_ways() -> None:
    pair = Pair()
    number = pair.request(POST, end=False)
    pair.client.send_data(number, b"x")
    pair.client.send_headers(number, [("x-t", "v")], end_stream=True)
    pair.exchange()
    (handler,) = pair.requests
    assert handler.trailers == [(b"x-t", b"v")]
    handler.stream.send_head(ResponseHead(200, [(b"X-Upper", b"1")], None))
    handler.stream.send_body(b"y")
    handler.stream.send_end([(b"X-Sum", b"42")])
    pair.exchange()
    (trailers,) = [event for event in pair.events if isinstance(event, TrailersReceived)]
    assert list(trailers.headers) == [(b"x-sum", b"42")]
    assert number in pair.ended


def test_interim_response() -> None:
    pair = Pair()
    number = pair.request([*POST, ("expect", "100-continue")], end=False)
    pair.exchange()
    pair.requests[0].stream.send_interim(100, [])
    pair.exchange()
    (interim,) = [e for e in pair.events if isinstance(e, InformationalResponseReceived)]
    assert interim.stream_id == number
    assert number not in pair.status


def test_a_slow_client_holds_only_its_own_stream_back() -> None:
    pair = Pair()
    slow, fast = pair.request(), pair.request()
    pair.exchange()
    first, second = pair.requests
    first.stream.send_head(ResponseHead(200, [], None))
    first.stream.send_body(b"x" * 65535)
    pair.client.increment_flow_control_window(1 << 20)  # of the connection, not of the stream
    pair.exchange(acknowledge=False)
    assert not first.paused
    first.stream.send_body(b"y" * 70_000)
    assert first.paused
    second.reply(b"quick")
    pair.exchange(acknowledge=False)
    assert pair.bodies[fast] == b"quick"
    assert len(pair.bodies[slow]) == 65535
    pair.client.increment_flow_control_window(100_000, slow)
    pair.exchange(acknowledge=False)
    assert not first.paused
    assert len(pair.bodies[slow]) == 65535 + 70_000
    first.stream.send_end([])
    pair.exchange()
    assert slow in pair.ended


def test_interim_responses_count_until_they_have_left() -> None:
    pair = Pair()
    pair.request()
    pair.exchange()
    (handler,) = pair.requests
    sent = 0
    while not handler.paused:
        handler.stream.send_interim(103, [(b"Link", b"x" * 1000)])
        sent += 1
        assert sent < 200, "never held back"
    assert sent > 10
    pair.exchange()
    assert not handler.paused
    hints = [e for e in pair.events if isinstance(e, InformationalResponseReceived)]
    assert len(hints) == sent


def test_responses_that_are_not_read_have_a_budget_together() -> None:
    pair = Pair()
    pair.client.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
    read = pair.request()
    for _ in range(99):
        pair.request()
    pair.exchange(acknowledge=False)
    for handler in pair.requests:
        handler.stream.send_head(ResponseHead(200, [], None))
    taken = 0
    for handler in pair.requests[1:]:
        while not handler.paused:
            size = min(handler.stream.room, 16384)
            handler.stream.send_body(bytes(size))
            taken += size
    assert taken < (1 << 20) + (1 << 16) + 99 * 8192
    # The others do not hold up the one that the client does read.
    first = pair.requests[0]
    for _ in range(50):
        first.stream.send_body(bytes(first.stream.room))
        assert first.paused
        pair.client.increment_flow_control_window(8192, read)
        pair.client.increment_flow_control_window(8192)
        pair.exchange(acknowledge=False)
        assert not first.paused
    assert len(pair.bodies[read]) == 50 * 8192
    # Everything works again once they are gone.
    for number in range(3, 201, 2):
        pair.client.reset_stream(number, ErrorCodes.CANCEL)
    pair.exchange(acknowledge=False)
    assert first.stream.room == 1 << 16
    assert pair.layer._responses.buffered == 0


def waiting() -> tuple[Pair, int]:
    """A client that takes no content yet, and a request of it."""
    pair = Pair()
    pair.client.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
    number = pair.request()
    pair.exchange(acknowledge=False)
    return pair, number


@pytest.mark.parametrize("over", ["sent", "cancelled"])
def test_trailers_that_wait_for_content_count(over: str) -> None:
    pair, number = waiting()
    (handler,) = pair.requests
    handler.stream.send_head(ResponseHead(200, [], None))
    handler.stream.send_body(b"x" * 100)
    handler.stream.send_end([(b"x-sum", b"y" * 50_000)])
    pair.exchange(acknowledge=False)
    assert pair.layer.held >= 50_100
    if over == "sent":
        pair.client.increment_flow_control_window(100, number)
        pair.exchange()
        (trailers,) = [event for event in pair.events if isinstance(event, TrailersReceived)]
        assert len(dict(trailers.headers)[b"x-sum"]) == 50_000
    else:
        pair.client.reset_stream(number, ErrorCodes.CANCEL)
        pair.exchange()
    assert pair.layer.held == 0


@pytest.mark.parametrize("over", ["sent", "cancelled"])
def test_heads_that_wait_for_the_connection_count(over: str) -> None:
    pair = Pair()
    numbers = [pair.request() for _ in range(20)]
    pair.exchange()
    pair.layer.pause_output()
    for handler in pair.requests:
        fields = [(b"x-large", b"y" * 10_000)]
        handler.stream.send_head(ResponseHead(200, fields, None))
        handler.stream.send_body(b"z" * 10)
    assert pair.layer.held >= 20 * 10_010
    if over == "cancelled":
        for handler in pair.requests:
            handler.stream.abort()
    pair.layer.resume_output()
    pair.exchange()
    assert pair.layer.held == 0
    assert pair.status == ({} if over == "cancelled" else dict.fromkeys(numbers, 200))


def large(size: int) -> list[tuple[str, str]]:
    """A request with *size* bytes of fields, and few more."""
    return [*POST, ("x-large", "z" * size)]


@pytest.mark.parametrize("over", ["answered", "cancelled", "lost"])
def test_heads_of_requests_in_flight_count(over: str) -> None:
    pair = Pair()
    numbers = [pair.request(large(10_000), end=False) for _ in range(3)]
    pair.exchange()
    assert 30_000 <= pair.layer.held < 31_000
    for number, handler in zip(numbers, pair.requests):
        if over == "answered":
            handler.reply(b"done")
        elif over == "cancelled":
            pair.client.reset_stream(number, ErrorCodes.CANCEL)
    pair.exchange()
    if over == "lost":
        pair.layer.client_gone()
    assert pair.layer.held == 0


def test_trailers_of_requests_in_flight_count() -> None:
    pair = Pair()
    numbers = [pair.request(POST, end=False) for _ in range(3)]
    pair.exchange()
    assert pair.layer.held == 0
    for number in numbers:
        pair.client.send_headers(number, [("x-sum", "z" * 10_000)], end_stream=True)
    pair.exchange()
    assert 30_000 <= pair.layer.held < 31_000
    for handler in pair.requests:
        handler.reply(b"done")
    pair.exchange()
    assert pair.layer.held == 0


def test_heads_that_were_refused_do_not_count() -> None:
    pair = Pair(limits=Limits(max_header_bytes=8000))
    for _ in range(3):
        pair.request(large(10_000), end=False)
    pair.client.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
    pair.exchange()
    assert (pair.requests, pair.layer.requests) == ([], 3)
    assert pair.layer.held < 3 * 1000


def test_a_head_counts_while_it_comes_and_the_connection_is_woken_to_see_it() -> None:
    pair = Pair()
    pair.exchange()
    pair.request(large(40_000))
    *parts, last = cuts(pair.client.data_to_send(), range(0, 40_000, 1000))
    feed(pair.layer.receive, parts)
    assert pair.connection.woken
    assert pair.layer.held >= 25_000
    pair.connection.woken = False
    pair.layer.receive(last)
    assert pair.connection.woken
    assert 40_000 <= pair.layer.held < 41_000


def test_small_heads_wake_nobody() -> None:
    pair = Pair()
    pair.exchange()
    pair.request()
    pair.layer.receive(pair.client.data_to_send())
    assert not pair.connection.woken
    assert pair.layer.held == 0


def test_many_small_parts_take_little_more_than_their_bytes() -> None:
    """As an event stream has them whose client does not read."""
    pair, number = waiting()
    (handler,) = pair.requests
    handler.stream.send_head(ResponseHead(200, [], None))
    sent = b""
    for size in (1, 7, 200) * 300:
        part = bytes([size]) * size
        handler.stream.send_body(part)
        sent += part
    assert len(pair.layer._streams[number].pending) <= 2 + len(sent) // 8192
    pair.client.increment_flow_control_window(1 << 20, number)
    pair.client.increment_flow_control_window(1 << 20)
    pair.exchange(acknowledge=False)
    assert pair.bodies[number] == sent


def test_the_rest_of_a_part_does_not_keep_all_of_it() -> None:
    """A client that takes all but one byte of each response would otherwise hold all of them."""
    pair = Pair()
    number = pair.request()
    pair.exchange(acknowledge=False)
    pair.requests[0].reply(b"x" * 65536)
    pair.exchange(acknowledge=False)
    assert len(pair.bodies[number]) == 65535
    (rest,) = pair.layer._streams[number].pending
    assert len(memoryview(rest).obj) == 1  # type: ignore[arg-type]


def test_a_response_has_little_room_while_much_waits_elsewhere() -> None:
    pair, _ = waiting()
    (handler,) = pair.requests
    handler.stream.send_head(ResponseHead(200, [], None))
    handler.stream.send_body(b"x" * 1000)
    assert (handler.paused, handler.stream.room) == (False, 1 << 16)
    pair.connection.scarce = True
    handler.stream.send_body(b"x")
    assert (handler.paused, handler.stream.room) == (True, 1 << 13)


def test_a_later_setting_widens_the_window() -> None:
    pair = Pair()
    pair.client.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 10})
    number = pair.request()
    pair.exchange(acknowledge=False)
    pair.requests[0].reply(b"x" * 1000)
    pair.exchange(acknowledge=False)
    assert len(pair.bodies[number]) == 10
    pair.client.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 2000})
    pair.exchange(acknowledge=False)
    assert len(pair.bodies[number]) == 1000


def test_content_is_acknowledged_only_when_the_upstream_takes_it() -> None:
    pair = Pair()
    number = pair.request(POST, end=False)
    pair.exchange()
    (handler,) = pair.requests
    handler.stream.hold()
    sent = 0
    while (window := pair.client.local_flow_control_window(number)) > 0:
        sent += min(window, 16384)
        pair.client.send_data(number, b"x" * min(window, 16384))
        pair.exchange()
    assert len(handler.body) == sent == 1 << 18
    handler.stream.release()
    pair.exchange()
    assert pair.client.local_flow_control_window(number) == 1 << 18


def test_content_of_forgotten_streams_does_not_eat_the_window() -> None:
    pair = Pair()
    pair.exchange()
    for _ in range(8):
        number = pair.request(POST, end=False)
        pair.exchange()
        pair.requests[-1].stream.hold()
        for _ in range(16):
            pair.client.send_data(number, b"x" * 16384)
        pair.exchange()
        pair.client.reset_stream(number, ErrorCodes.CANCEL)
        pair.exchange()
    number = pair.request(POST, end=False)
    assert pair.client.local_flow_control_window(number) == 1 << 18


def test_an_answer_before_the_end_of_the_request() -> None:
    pair = Pair()
    number = pair.request(POST, end=False)
    pair.exchange()
    pair.requests[0].reply(b"enough", status=413)
    pair.exchange()
    assert pair.bodies[number] == b"enough"
    assert pair.layer.phase == IDLE
    for _ in range(16):  # some more is taken, so that the client does not lose the answer
        pair.client.send_data(number, b"x" * 16384)
        pair.exchange()
    assert pair.resets == {}
    pair.client.send_data(number, b"x")
    pair.exchange()
    assert pair.resets == {number: ErrorCodes.NO_ERROR}
    assert pair.requests[0].body == b""


@pytest.mark.parametrize("frames", [10, 17])
def test_content_that_nobody_wants_does_not_eat_the_window(frames: int) -> None:
    """Of a request that was answered early, and ended, or was reset for sending too much."""
    pair = Pair()
    number = pair.request(POST, end=False)
    pair.exchange()
    pair.requests[0].reply(b"enough", status=413)
    pair.exchange()
    for _ in range(frames):
        pair.client.send_data(number, b"x" * 16384)
        pair.exchange()
    if frames < 17:
        pair.client.end_stream(number)
        pair.exchange()
    assert (number in pair.resets) is (frames == 17)
    intake = pair.layer._intake
    assert intake._left + intake._owed == 1 << 23


def test_the_end_of_a_request_may_come_after_the_answer() -> None:
    pair = Pair()
    number = pair.request([*POST, ("content-length", "3")], end=False)
    pair.client.send_data(number, b"all")
    pair.exchange()
    pair.requests[0].reply(b"done")
    pair.exchange()
    assert pair.resets == {}
    pair.client.end_stream(number)
    pair.exchange()
    assert pair.resets == {}
    assert not pair.layer.finished


def test_a_cancelled_request_is_forgotten() -> None:
    pair = Pair()
    number = pair.request()
    pair.exchange()
    pair.requests[0].stream.send_head(ResponseHead(200, [], None))
    pair.requests[0].stream.send_body(b"x")
    pair.client.reset_stream(number, ErrorCodes.CANCEL)
    pair.exchange()
    assert pair.requests[0].gone
    assert pair.layer.phase == IDLE


@pytest.mark.parametrize("goaway", [False, True])
def test_an_answer_to_a_request_cancelled_in_the_same_read(goaway: bool) -> None:
    pair = Pair(Requests(answer=b"x" * 100_000))
    pair.exchange()
    number = pair.request()
    if goaway:
        pair.client.close_connection(error_code=ErrorCodes.INTERNAL_ERROR)
    else:
        pair.client.reset_stream(number, ErrorCodes.CANCEL)
    feed(pair.layer.receive, [pair.client.data_to_send()])
    pair.layer.output()
    assert pair.layer.phase == IDLE
    assert pair.layer.finished == goaway


def test_a_response_cut_short_resets_its_stream_only() -> None:
    pair = Pair()
    number = pair.request()
    pair.exchange()
    stream = pair.requests[0].stream
    stream.send_head(ResponseHead(200, [], None))
    stream.send_body(b"half")
    stream.abort()
    pair.exchange()
    assert pair.resets == {number: ErrorCodes.INTERNAL_ERROR}
    assert not pair.layer.finished


def test_streams_beyond_the_limit_are_refused() -> None:
    pair = Pair(limits=Limits(max_streams=2))
    numbers = [pair.request() for _ in range(4)]
    pair.exchange()
    assert len(pair.requests) == 2
    assert pair.resets == dict.fromkeys(numbers[2:], ErrorCodes.REFUSED_STREAM)
    assert pair.client.remote_settings.max_concurrent_streams == 2


def test_too_many_cancellations_end_the_connection() -> None:
    pair = Pair()
    for _ in range(501):
        number = pair.request()
        pair.client.reset_stream(number, ErrorCodes.CANCEL)
        if pair.terminated is None:
            pair.exchange()
    assert pair.terminated is not None
    assert pair.terminated.error_code == ErrorCodes.ENHANCE_YOUR_CALM
    assert pair.layer.finished


def test_cancellations_after_an_answer_are_no_abuse() -> None:
    pair = Pair()
    for count in range(1100):
        number = pair.request()
        pair.exchange()
        pair.requests[-1].stream.send_head(ResponseHead(200, [], None))
        pair.requests[-1].stream.send_body(b"result")
        pair.exchange()
        pair.client.reset_stream(number, ErrorCodes.CANCEL)
        pair.exchange()
        assert pair.terminated is None, count
    assert pair.layer.phase == IDLE


def test_an_answer_that_has_not_left_does_not_excuse_a_cancellation() -> None:
    pair = Pair(Requests(answer=b"x"))
    pair.exchange()
    for _ in range(501):
        number = pair.request()
        pair.client.reset_stream(number, ErrorCodes.CANCEL)
        if pair.terminated is None:
            pair.exchange()
    assert pair.terminated is not None
    assert pair.terminated.error_code == ErrorCodes.ENHANCE_YOUR_CALM


def test_draining_finishes_streams_and_refuses_new_ones() -> None:
    pair = Pair()
    first = pair.request()
    pair.exchange()
    pair.connection.woken = False
    pair.layer.drain()
    assert pair.connection.woken  # the GOAWAY leaves now, not with the next response
    second = pair.request()  # on its way before the GOAWAY has arrived
    feed(pair.layer.receive, [pair.client.data_to_send()])
    assert not pair.layer.finished
    pair.requests[0].reply(b"last")
    data = b"".join(pair.layer.output())
    for event in pair.client.receive_data(data):
        pair.note(event, acknowledge=False)
    assert pair.bodies[first] == b"last"
    assert first in pair.ended
    assert pair.resets[second] == ErrorCodes.REFUSED_STREAM
    assert pair.terminated is not None
    assert pair.terminated.last_stream_id == first
    assert pair.layer.finished


@pytest.mark.parametrize("code", [ErrorCodes.NO_ERROR, ErrorCodes.INTERNAL_ERROR])
def test_the_client_going_away_ends_what_it_no_longer_wants(code: ErrorCodes) -> None:
    pair = Pair()
    pair.request()
    pair.exchange()
    pair.client.close_connection(error_code=code)
    feed(pair.layer.receive, [pair.client.data_to_send()])
    failed = code != ErrorCodes.NO_ERROR
    assert pair.requests[0].gone == failed
    assert pair.layer.finished == failed
    if not failed:
        pair.requests[0].reply(b"last")
        assert b"last" in b"".join(pair.layer.output())
        assert pair.layer.finished


def test_paused_output_pauses_every_stream_and_stops_input() -> None:
    pair = Pair()
    pair.request()
    pair.request()
    pair.exchange()
    pair.layer.pause_output()
    assert all(handler.paused for handler in pair.requests)
    assert not pair.layer.wants_input
    pair.requests[0].stream.send_head(ResponseHead(200, [], None))
    pair.requests[0].stream.send_body(b"later")
    pair.exchange()
    assert pair.bodies == {}
    pair.layer.resume_output()
    pair.exchange()
    assert pair.bodies == {1: b"later"}
    assert not any(handler.paused for handler in pair.requests)


def test_large_heads() -> None:
    pair = Pair(limits=Limits(max_header_bytes=1000))
    number = pair.request([*BASE, ("a", "b" * 1000)])
    pair.exchange()
    assert pair.status[number] == 431
    assert not pair.layer.finished
    pair.request([*BASE, ("a", "b" * 3000)])
    feed(pair.layer.receive, [pair.client.data_to_send()])
    assert pair.layer.finished
    assert pair.requests == []


BAD_FIELDS = {
    "blank in path": [*BASE[:3], (":path", "/a b")],
    "line end in path": [*BASE[:3], (":path", "/a\r\nX: y")],
    "relative path": [*BASE[:3], (":path", "a")],
    "empty path": [*BASE[:3], (":path", "")],
    "line end in method": [(":method", "GET / HTTP/1.1\r\nX: y"), *BASE[1:]],
    "line end in authority": [*BASE[:2], (":authority", "x\r\nX: y"), BASE[3]],
    "userinfo": [*BASE[:2], (":authority", "a@b"), BASE[3]],
    "line end in value": [*BASE, ("a", "b\r\nc: d")],
    "nul in value": [*BASE, ("a", "b\0c")],
    "colon in name": [*BASE, ("a:b", "c")],
    "blank in name": [*BASE, ("a b", "c")],
    "upper case name": [*BASE, ("Ab", "c")],
    "connection": [*BASE, ("connection", "close")],
    "transfer-encoding": [*BASE, ("transfer-encoding", "chunked")],
    "upgrade": [*BASE, ("upgrade", "websocket")],
    "te": [*BASE, ("te", "gzip")],
    "bad length": [*POST, ("content-length", "+3")],
    "two lengths": [*POST, ("content-length", "3"), ("content-length", "4")],
    "two hosts": [*BASE, ("host", "other.example")],
    "two paths": [*BASE, (":path", "/b")],
    "pseudo after field": [*BASE[:3], ("a", "b"), BASE[3]],
    "unknown pseudo": [*BASE, (":status", "200")],
    "connect": [(":method", "CONNECT"), (":authority", "x:1")],
}


@pytest.mark.parametrize("fields", BAD_FIELDS.values(), ids=list(BAD_FIELDS))
def test_bad_heads_never_reach_an_upstream(fields: list[tuple[str, str]]) -> None:
    pair = Pair(check=False)
    number = pair.request(fields, end=False)
    feed(pair.layer.receive, [pair.client.data_to_send()])
    assert pair.requests == []
    for event in pair.client.receive_data(b"".join(pair.layer.output())):
        pair.note(event, acknowledge=False)
    refused = pair.resets.get(number) == ErrorCodes.PROTOCOL_ERROR
    assert refused or pair.status[number] >= 400
    assert not pair.layer.finished


def test_content_that_does_not_match_its_length() -> None:
    pair = Pair(check=False)
    number = pair.request([*POST, ("content-length", "3")], end=False)
    pair.client.send_data(number, b"four")
    feed(pair.layer.receive, [pair.client.data_to_send()])
    (handler,) = pair.requests
    assert handler.gone
    assert handler.trailers is None
    assert handler.body == b""
    for event in pair.client.receive_data(b"".join(pair.layer.output())):
        pair.note(event, acknowledge=False)
    assert pair.resets == {number: ErrorCodes.PROTOCOL_ERROR}


@given(noise=st.binary(min_size=1, max_size=300), places=PLACES)
def test_no_input_breaks_the_layer(noise: bytes, places: list[int]) -> None:
    pair = Pair(Requests(answer=b"ok"))
    pair.request()
    data = pair.client.data_to_send()
    feed(pair.layer.receive, cuts(data + noise, places))
    assert b"".join(pair.layer.output())
    assert pair.layer.phase in (BUSY, IDLE)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_empty_frame_at_the_end_of_a_get_is_no_content(method: str) -> None:
    pair = Pair()
    number = pair.request([(":method", method), *BASE[1:]], end=False)
    pair.exchange()
    pair.layer.tick(0)
    pair.client.send_data(number, b"")
    pair.exchange()
    assert pair.requests == []
    pair.client.end_stream(number)
    pair.exchange()
    (handler,) = pair.requests
    assert handler.head.length == 0
    assert (handler.body, handler.trailers) == (b"", [])


def test_a_get_has_content_if_some_comes() -> None:
    pair = Pair()
    number = pair.request(end=False)
    pair.client.send_data(number, b"x")
    pair.exchange()
    (handler,) = pair.requests
    assert handler.head.length is None
    assert (handler.body, handler.trailers) == (b"x", None)
    pair.client.end_stream(number)
    pair.exchange()
    assert handler.trailers == []


def test_a_get_with_trailers_alone_is_passed_on_with_them() -> None:
    pair = Pair()
    number = pair.request(end=False)
    pair.client.send_headers(number, [("x-a", "b")], end_stream=True)
    pair.exchange()
    (handler,) = pair.requests
    assert handler.head.length is None
    assert handler.trailers == [(b"x-a", b"b")]


def test_a_get_that_does_not_end_is_begun_all_the_same() -> None:
    pair = Pair()
    number = pair.request(end=False)
    pair.exchange()
    pair.layer.tick(0)
    assert pair.requests == []
    pair.layer.tick(1)
    (handler,) = pair.requests
    assert handler.head.length is None
    pair.client.end_stream(number)
    pair.exchange()
    assert handler.trailers == []


def test_a_get_that_is_cancelled_before_its_end_is_never_begun() -> None:
    pair = Pair()
    number = pair.request(end=False)
    pair.exchange()
    pair.client.reset_stream(number, ErrorCodes.CANCEL)
    pair.exchange()
    pair.layer.tick(0)
    pair.layer.tick(1)
    assert pair.requests == []
    assert pair.layer.phase == IDLE
