"""What a request's head must look like before it is acted on (RFC 9112 §3, §6; RFC 9110 §7.2)."""

from __future__ import annotations

import re

from .http_rules import Refusal, check_authority, check_target
from .messages import MAX_LENGTH, Headers, RequestHead

_READ_HERE = frozenset((b"host", b"content-length", b"transfer-encoding"))
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)(.*)\Z", re.IGNORECASE | re.DOTALL)


def request_head(method: bytes, target: bytes, fields: Headers, version: str) -> RequestHead:
    """Interpret a parsed HTTP/1 head. Raises :class:`Refusal`."""
    if version not in ("1.1", "1.0"):
        raise Refusal(505, "HTTP version not supported")
    hosts: list[bytes] = []
    headers: Headers = []
    length: int | None = 0
    for field in fields:
        key = field[0].lower()
        if key not in _READ_HERE:
            headers.append(field)
            continue
        value = field[1].strip(b" \t")  # the parser leaves the blanks after a value in place
        if key == b"host":
            hosts.append(value)
        elif key == b"content-length":
            # The parser has made sure that it is a number, and the only one.
            length = int(value)
            if length > MAX_LENGTH:
                raise Refusal(400, "Content-Length too large")
        elif value.lower() != b"chunked" or version == "1.0":
            raise Refusal(501, "Transfer coding not supported")
        elif length is None:
            raise Refusal(400, "Transfer coding applied twice")
        else:
            length = None
    if len(hosts) > 1 or (not hosts and version == "1.1"):
        raise Refusal(400, "Exactly one Host field is needed")
    authority = hosts[0] if hosts else b""
    absolute = None if target.startswith(b"/") else _ABSOLUTE.match(target)
    if absolute:
        # RFC 9112 §3.2.2: the target outranks Host, which has to be good all the same (§3.2).
        check_authority(authority)
        authority = absolute[1]
        target = absolute[2] or b"/"
        if not target.startswith(b"/"):
            target = b"/" + target
    if b"#" in target:
        target = target.split(b"#", 1)[0]
    check_target(method, target, authority)
    return RequestHead(method, target, authority, headers, length, version)
