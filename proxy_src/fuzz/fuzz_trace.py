"""Trace context: the identifier of a trace is taken from a valid field only (W3C, §3.2)."""

from __future__ import annotations

from mcp_proxy.http.trace_context import trace_id

_HEX = frozenset(b"0123456789abcdef")


def _expected(value: bytes) -> str | None:
    """The identifier in *value*, read field by field as the recommendation describes them."""
    parts = value.split(b"-", 4)
    if [len(part) for part in parts[:4]] != [2, 32, 16, 2]:
        return None
    if any(byte not in _HEX for part in parts[:4] for byte in part):
        return None
    version, trace, parent = parts[:3]
    if version == b"ff" or trace == b"0" * 32 or parent == b"0" * 16:
        return None
    if len(parts) > 4 and version == b"00":
        return None
    return trace.decode()


def one_input(data: bytes) -> None:
    """*data* is the value, and what is left of it after its first byte a second one."""
    name = b"TraceParent"
    expected = _expected(data)
    assert trace_id([(b"a", b"b"), (name, data)]) == expected
    assert trace_id([(name, data), (b"tracestate", data)]) == expected
    assert trace_id([(name, data), (name, data)]) is None
    assert trace_id([(b"tracestate", data)]) is None
