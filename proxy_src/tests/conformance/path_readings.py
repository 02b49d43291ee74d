"""The paths that servers may see in a request target: a judge for lists of paths.

Each rule is the behaviour of some server, framework or file system, plainly. A reading is any chain
of them, in any order. This shares no code with the proxy, which knows none of these rules.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

_MOST = 3000
"""Readings of one target: from there on it has no meaning that somebody could be sure of."""

# Windows' best-fit mapping to code page 1252, and characters that look like it.
_BEST_FIT = str.maketrans(
    {"\u2044": "/", "\u2215": "/", "\u2216": "\\", "\u29f5": "\\", "\u2024": ".", "\u3002": "."}
)
_OVERLONG = {
    b"\xc0\xae": b".",
    b"\xc0\xaf": b"/",
    b"\xc1\x9c": b"\\",
    b"\xe0\x80\xae": b".",
    b"\xe0\x80\xaf": b"/",
    b"\xf0\x80\x80\xae": b".",
    b"\xf0\x80\x80\xaf": b"/",
}


def _decoded(path: bytes) -> bytes:
    return re.sub(rb"%([0-9A-Fa-f]{2})", lambda found: bytes((int(found[1], 16),)), path)


def _decoded_as_iis_did(path: bytes) -> bytes:
    def octets(found: re.Match[bytes]) -> bytes:
        return chr(int(found[1], 16)).encode("utf-8", "replace")

    return re.sub(rb"%[uU]([0-9A-Fa-f]{4})", octets, path)


def _overlong(path: bytes) -> bytes:
    for form, octet in _OVERLONG.items():
        path = path.replace(form, octet)
    return path


def _compatible(path: bytes) -> bytes:
    text = path.decode("utf-8", "surrogateescape").translate(_BEST_FIT)
    return unicodedata.normalize("NFKC", text).encode("utf-8", "surrogateescape")


def _seven_bits(path: bytes) -> bytes:
    return bytes(octet & 0x7F for octet in path)


def _without_dots(path: bytes) -> bytes:
    """RFC 3986 §5.2.4."""
    kept: list[bytes] = []
    segments = path.split(b"/")[1:]
    for segment in segments:
        if segment == b"..":
            del kept[-1:]
        elif segment != b".":
            kept.append(segment)
    if segments and segments[-1] in (b".", b".."):
        kept.append(b"")
    return b"/" + b"/".join(kept)


def _segments(path: bytes, change: Callable[[bytes], bytes]) -> bytes:
    return b"/".join(map(change, path.split(b"/")))


def _as_windows_does(segment: bytes) -> bytes:
    stripped = segment.strip(b" ").split(b":", 1)[0]
    return stripped if set(stripped) <= {0x2E} else stripped.rstrip(b". ")


RULES: tuple[Callable[[bytes], bytes], ...] = (
    _decoded,
    _decoded_as_iis_did,
    _overlong,
    _compatible,
    _seven_bits,
    _without_dots,
    lambda path: path.replace(b"\\", b"/"),
    lambda path: re.sub(rb"//+", b"/", path),
    lambda path: re.sub(rb"[\0-\x1f\x7f]", b"", path),
    lambda path: path.split(b"\0", 1)[0],
    lambda path: path.split(b"?", 1)[0],
    lambda path: path.split(b"#", 1)[0],
    lambda path: path.split(b";", 1)[0],
    lambda path: _segments(path, lambda segment: segment.split(b";", 1)[0]),
    lambda path: _segments(path, _as_windows_does),
)


def readings(target: bytes) -> set[bytes]:
    """Every path that a server may see in *target*; empty if there are too many of them."""
    found = {target.split(b"?", 1)[0]}
    new = set(found)
    while new:
        new = {rule(path) for path in new for rule in RULES} - found
        found |= new
        if len(found) > _MOST:
            return set()
    return found


def outside(target: bytes, allowed: tuple[bytes, ...]) -> set[bytes]:
    """The readings of *target* that lie below none of the *allowed* paths."""
    found = readings(target) or {b"(no end of readings)"}
    return {path for path in found if not any(_below(path, prefix) for prefix in allowed)}


def _below(path: bytes, prefix: bytes) -> bool:
    return path == prefix or path.startswith(prefix if prefix == b"/" else prefix + b"/")
