"""Compressed header fields, against the library."""

from __future__ import annotations

import hpack
from mcp_proxy.http2.frames import ConnectionFault
from mcp_proxy.http2.hpack import Decoder, encode

_MAX = 16384


def _pair(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    return name, value


def one_input(data: bytes) -> None:
    """Header blocks of one connection, each after a byte with its length."""
    ours: Decoder[tuple[bytes, bytes]] = Decoder(_pair, _MAX)
    library = hpack.Decoder(max_header_list_size=_MAX)
    library.max_allowed_table_size = 4096
    at = 0
    while at < len(data):
        block = data[at + 1 : at + 1 + data[at]]
        at += 1 + data[at]
        try:
            theirs = [
                (bytes(name), bytes(value)) for name, value in library.decode(block, raw=True)
            ]
        except (hpack.HPACKError, UnicodeDecodeError):
            theirs = None
        try:
            found, size = ours.decode(block)
        except ConnectionFault as fault:
            # The library takes integers of any length, as long as it knows what to do with them,
            # and any number of changes of the table's size.
            resized = block[:1] and block[0] & 0xE0 == 0x20
            assert (
                theirs is None
                or str(fault) == "integer too large"
                or (resized and str(fault) == "table size changed too often")
            ), fault
            return
        assert theirs is not None, block
        assert found == theirs
        assert size == sum(len(name) + len(value) + 32 for name, value in found) <= _MAX
        lowered = [(name.lower(), value) for name, value in found]
        again = hpack.Decoder(max_header_list_size=1 << 20).decode(encode(None, found), raw=True)
        assert [(bytes(name), bytes(value)) for name, value in again] == lowered
