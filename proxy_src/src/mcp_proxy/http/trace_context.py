"""The trace that a request belongs to (W3C Trace Context §3.2). It is read here, never written."""

from __future__ import annotations

import re
from typing import Final

from .messages import Headers

_NAME: Final = b"traceparent"
_LENGTH: Final = len(_NAME)
_TRACEPARENT: Final = re.compile(
    rb"(?!ff)([0-9a-f]{2})"  # version
    rb"-(?!0{32})([0-9a-f]{32})"  # trace-id
    rb"-(?!0{16})[0-9a-f]{16}"  # parent-id
    rb"-[0-9a-f]{2}"  # trace-flags
    rb"(-.*)?\Z",  # what versions after 00 may add
    re.DOTALL,
)


def trace_id(headers: Headers) -> str | None:
    """The trace-id in *headers*: 32 hexadecimal digits, or ``None`` if there is no valid one.

    Of two ``traceparent`` fields neither can be believed.
    """
    found: bytes | None = None
    for name, value in headers:
        # The length first: nearly every field is ruled out by it.
        if len(name) == _LENGTH and name.lower() == _NAME:
            if found is not None:
                return None
            found = value
    if found is None:
        return None
    match = _TRACEPARENT.match(found)
    if match is None or (match[3] and match[1] == b"00"):
        return None
    return match[2].decode("ascii")
