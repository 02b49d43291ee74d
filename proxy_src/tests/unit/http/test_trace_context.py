"""Cases of W3C Trace Context §3.2: valid traceparents, and invalid ones."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp_proxy.http.trace_context import trace_id

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
VALID = f"00-{TRACE}-{PARENT}-01"


@pytest.mark.parametrize(
    "value",
    [
        VALID,
        f"00-{TRACE}-{PARENT}-00",
        f"00-{TRACE}-{PARENT}-ff",
        f"01-{TRACE}-{PARENT}-01",
        f"cc-{TRACE}-{PARENT}-01-what-the-future-will-be-like",
        f"fe-{TRACE}-{PARENT}-01-",
    ],
)
def test_valid(value: str) -> None:
    assert trace_id([(b"traceparent", value.encode())]) == TRACE


@pytest.mark.parametrize(
    "value",
    [
        "",
        f"ff-{TRACE}-{PARENT}-01",  # a version that is never one
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE}-{PARENT.upper()}-01",
        f"0A-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-0A",
        f"00-{TRACE}-{PARENT}-01-more",  # version 00 ends here
        f"00-{TRACE}-{PARENT}-01-",
        f"cc-{TRACE}-{PARENT}-01.more",
        f"00-{TRACE}-{PARENT}-1",
        f"00-{TRACE}-{PARENT}",
        f"00-{TRACE[:-1]}-{PARENT}-01",
        f"00-{TRACE}0-{PARENT}-01",
        f"00-{TRACE[:-1]}.-{PARENT}-01",
        f"00_{TRACE}_{PARENT}_01",
        f" {VALID}",
        f"{VALID}\n",
        f"{VALID}, {VALID}",
        "\u0660" * 55,
    ],
)
def test_invalid(value: str) -> None:
    assert trace_id([(b"traceparent", value.encode())]) is None


def test_where_it_stands() -> None:
    others = [(b"tracestate", b"a=1"), (b"x-traceparent", VALID.encode())]
    assert trace_id(others) is None
    assert trace_id([*others, (b"TraceParent", VALID.encode())]) == TRACE
    assert trace_id([(b"traceparent", VALID.encode()), (b"Traceparent", VALID.encode())]) is None


@given(st.binary() | st.from_regex(r"\A[0-9a-f-]{50,60}\Z").map(str.encode))
def test_whatever_comes_is_an_id_or_nothing(value: bytes) -> None:
    found = trace_id([(b"traceparent", value)])
    assert found is None or (re.fullmatch("[0-9a-f]{32}", found) and found.encode() in value)
