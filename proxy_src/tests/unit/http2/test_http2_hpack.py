"""Header compression, with the hpack library as the other side."""

from __future__ import annotations

import re

import hpack
from hypothesis import example, given
from hypothesis import strategies as st
from mcp_proxy.http2.frames import ConnectionFault
from mcp_proxy.http2.hpack import EMPTY_TABLE, Decoder, encode

NAMES = st.sampled_from([b":path", b":status", b"accept", b"x-a", b"x-b", b"content-type"])
NAMES |= st.binary(max_size=200)
VALUES = st.sampled_from([b"", b"/", b"200", b"gzip, deflate", b"v" * 130]) | st.binary(
    max_size=700
)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=12)


def pair(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    return name, value


@given(blocks=st.lists(st.tuples(FIELDS, st.booleans(), st.none() | st.integers(0, 4096))))
def test_what_the_library_encodes_is_understood(
    blocks: list[tuple[list[tuple[bytes, bytes]], bool, int | None]],
) -> None:
    encoder = hpack.Encoder()
    decoder = Decoder(pair, 1 << 20)
    for fields, huffman, table in blocks:
        if table is not None:
            encoder.header_table_size = table
        found, size = decoder.decode(encoder.encode(fields, huffman=huffman))
        assert found == fields
        assert size == sum(len(name) + len(value) + 32 for name, value in fields)


@given(blocks=st.lists(st.tuples(st.none() | st.integers(100, 999), FIELDS), min_size=1))
def test_the_library_understands_what_is_encoded(
    blocks: list[tuple[int | None, list[tuple[bytes, bytes]]]],
) -> None:
    decoder = hpack.Decoder(1 << 20)
    preamble = EMPTY_TABLE
    for status, fields in blocks:
        decoded = decoder.decode(preamble + encode(status, fields), raw=True)
        first = [] if status is None else [(b":status", b"%d" % status)]
        assert decoded == [*first, *((name.lower(), value) for name, value in fields)]
        preamble = b""


# RFC 7541 §4.2: two of them at most, in front of everything else. The library takes any number.
THREE_SIZE_UPDATES = re.compile(rb"(?:[\x20-\x3e]|\x3f[\x80-\xff]*[\x00-\x7f]){3}")


@example(noise=b"   ")
@given(noise=st.binary(max_size=100))
def test_of_noise_the_library_makes_the_same(noise: bytes) -> None:
    ours: object
    theirs: object
    try:
        ours, _ = Decoder(pair, 1 << 20).decode(noise)
    except ConnectionFault:
        ours = None
    try:
        theirs = hpack.Decoder(1 << 20).decode(noise, raw=True)
    except hpack.HPACKError:
        theirs = None
    if THREE_SIZE_UPDATES.match(noise):
        assert ours is None
    else:
        assert ours == theirs
