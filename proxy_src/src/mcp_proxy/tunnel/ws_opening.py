"""The usual opening handshake of a WebSocket (RFC 6455 §4.2): plain, and in one piece.

The ``websockets`` library judges every opening handshake that has anything else in it, and every
one that is to be refused. It takes ten times as long.
"""

from __future__ import annotations

import re
from typing import Final

from websockets.utils import accept_key

_LONGEST: Final = 4096
"""Bytes of such a head. The library has limits of its own, above these."""

_MOST_FIELDS: Final = 64

_HEAD: Final = re.compile(
    rb"GET [!-~]+ HTTP/1\.1\r\n"
    rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*\r\n)+\r\n"
)
_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{22}==")  # 16 bytes in base64

_DECIDING: Final = frozenset(
    (
        b"connection",
        b"content-length",
        b"host",
        b"origin",
        b"sec-websocket-key",
        b"sec-websocket-protocol",
        b"sec-websocket-version",
        b"transfer-encoding",
        b"upgrade",
    )
)
_EXPECTED: Final = {
    b"connection": b"upgrade",
    b"upgrade": b"websocket",
    b"sec-websocket-version": b"13",
}
_NAMES: Final = frozenset((*_EXPECTED, b"host", b"sec-websocket-key"))


def usual_answer(head: bytes) -> bytes:
    """Return the answer that accepts *head*, or ``b""`` if the library has to judge it."""
    if len(head) > _LONGEST or not _HEAD.fullmatch(head):
        return b""
    lines = head.split(b"\r\n")[1:-2]
    if len(lines) > _MOST_FIELDS:
        return b""
    fields: dict[bytes, bytes] = {}
    for line in lines:
        name, _, value = line.partition(b":")
        name = name.lower()
        if name in _DECIDING:
            if name in fields:
                return b""
            fields[name] = value.strip(b" \t")
    if fields.keys() != _NAMES:
        return b""
    key = fields[b"sec-websocket-key"]
    if not _KEY.fullmatch(key) or any(fields[n].lower() != v for n, v in _EXPECTED.items()):
        return b""
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n\r\n"
    ) % accept_key(key.decode("ascii")).encode("ascii")
