from __future__ import annotations

import json
import struct

import pytest
from fakes import PLACES, cuts
from hypothesis import given
from hypothesis import strategies as st
from mcp_proxy.process.control import MAX_BYTES, MessageDecoder, OutOfStep, encode_message

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.lists(st.tuples(st.sampled_from(["alive", "settings"]), VALUES)), PLACES)
def test_messages_arrive_whole_however_they_are_cut(
    messages: list[tuple[str, object]], places: list[int]
) -> None:
    data = b"".join(encode_message(kind, value=value) for kind, value in messages)
    decoder = MessageDecoder()
    got = [message for part in cuts(data, places) for message in decoder.feed(part)]
    assert got == [{"kind": kind, "value": value} for kind, value in messages]


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("!I", MAX_BYTES + 1),
        struct.pack("!I", 3) + b"{x}",
        struct.pack("!I", 2) + b"[]",
        struct.pack("!I", 2) + b"{}",
        struct.pack("!I", 10) + json.dumps({"kind": 1}).encode(),
        struct.pack("!I", 1) + b"\xff",
    ],
)
def test_what_is_no_message(data: bytes) -> None:
    with pytest.raises(OutOfStep):
        MessageDecoder().feed(data)
