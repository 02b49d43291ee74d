"""The options of a route that refuse requests, without a proxy around them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from mcp_proxy.config.model import Rate, RouteOptions
from mcp_proxy.http.messages import RequestHead
from mcp_proxy.upstream.guard import Bucket, Guard, Refused

HEAD = RequestHead(b"POST", b"/mcp/x?y", b"echo", [(b"A", b"b")], 10, "1.1")


def refused(options: RouteOptions, head: RequestHead = HEAD, in_flight: int = 1) -> Refused | None:
    return Guard(options, None).refusal(head, in_flight, 0.0)


def told(found: Refused | None) -> tuple[str, int, dict[bytes, bytes]] | None:
    return None if found is None else (found.option, found.status, dict(found.fields))


def test_what_is_allowed_passes() -> None:
    options = RouteOptions(
        paths=("/x", "/mcp"), methods=("GET", "POST"), max_body_bytes=10, max_in_flight=1
    )
    assert refused(options) is None
    assert refused(RouteOptions(paths=("/",))) is None


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            RouteOptions(maintenance=True, retry_after=0.1, paths=("/x",)),
            ("maintenance", 503, {b"Retry-After": b"1"}),
        ),
        (RouteOptions(paths=("/x", "/mc"), methods=("GET",)), ("paths", 404, {})),
        (
            RouteOptions(methods=("GET", "DELETE"), max_body_bytes=1),
            ("methods", 405, {b"Allow": b"GET, DELETE"}),
        ),
        (RouteOptions(max_body_bytes=9, max_in_flight=0), ("max_body_bytes", 413, {})),
        (RouteOptions(max_in_flight=0), ("max_in_flight", 503, {b"Retry-After": b"1"})),
    ],
)
def test_the_first_that_refuses(
    options: RouteOptions, expected: tuple[str, int, dict[bytes, bytes]]
) -> None:
    assert told(refused(options)) == expected


@pytest.mark.parametrize("length", [0, 10, None])
def test_content_that_may_fit(length: int | None) -> None:
    assert refused(RouteOptions(max_body_bytes=10), replace(HEAD, length=length)) is None


@pytest.mark.parametrize("option", [RouteOptions(paths=("/mcp",)), RouteOptions(methods=("POST",))])
def test_fields_that_replace_what_was_judged(option: RouteOptions) -> None:
    head = replace(HEAD, headers=[(b"X_HTTP-Method_Override", b"DELETE")])
    found = refused(option, head)
    assert found is not None
    assert (found.option, found.status) == (option.refusing[0], 400)
    assert refused(RouteOptions(max_in_flight=1), head) is None


def test_a_field_that_names_a_second_path() -> None:
    head = replace(HEAD, headers=[(b"Destination", b"/admin")])
    assert refused(RouteOptions(methods=("POST",)), head) is None
    found = refused(RouteOptions(paths=("/mcp",), methods=("POST",)), head)
    assert found is not None
    assert (found.option, found.status) == ("paths", 400)


def test_a_rate_lets_a_burst_through_and_then_as_many_as_it_says() -> None:
    bucket = Bucket(Rate(4, 2.0))
    assert [bucket.take(100.0) for _ in range(6)] == [0, 0, 0, 0, 0.5, 0.5]
    assert bucket.take(100.25) == 0.25
    assert bucket.take(100.5) == 0
    assert bucket.take(100.5) == 0.5
    assert [bucket.take(1000.0) for _ in range(5)] == [0, 0, 0, 0, 0.5]  # no more than one burst


def test_a_share_of_a_rate_below_one_request_lets_one_through_in_time() -> None:
    bucket = Bucket(Rate(0.25, 60.0))
    assert bucket.take(0.0) == 0
    assert bucket.take(0.0) == 240
    assert bucket.take(240.0) == 0


def test_a_rate_refuses_with_the_time_to_wait() -> None:
    guard = Guard(RouteOptions(rate=Rate(1, 3600.0)), Bucket(Rate(1, 3600.0)))
    assert guard.refusal(HEAD, 1, 50.0) is None
    found = guard.refusal(HEAD, 1, 60.5)
    assert told(found) == ("rate", 429, {b"Retry-After": b"3590"})


def test_a_request_that_is_refused_takes_nothing_of_the_rate() -> None:
    guard = Guard(RouteOptions(paths=("/a",), rate=Rate(1, 60.0)), Bucket(Rate(1, 60.0)))
    assert told(guard.refusal(HEAD, 1, 0.0)) == ("paths", 404, {})
    assert guard.refusal(replace(HEAD, target=b"/a"), 1, 0.0) is None


def test_the_options_that_can_refuse() -> None:
    assert RouteOptions(rewrite_host=True, retry_after=5).refusing == ()
    all_of_them = RouteOptions(True, 5, ("/a",), ("GET",), 1, 1, Rate(1, 1))
    assert all_of_them.refusing == (
        *("maintenance", "paths", "methods"),
        *("max_body_bytes", "max_in_flight", "rate"),
    )
