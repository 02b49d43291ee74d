"""Heads of HTTP/2 messages (RFC 9113 §8.2, §8.3).

The library has checked which fields and pseudo-fields may occur, and the characters of values.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from .http_rules import Refusal, check_target
from .messages import Headers, RequestHead

_METHOD = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,32}\Z")
_NAME = re.compile(rb"[a-z0-9!#$%&'*+.^_`|~-]+\Z")


def request_head(fields: Iterable[tuple[bytes, bytes]], ended: bool) -> RequestHead:
    """Interpret a request's *fields*; *ended* if no content follows. Raises :class:`Refusal`."""
    pseudo: dict[bytes, bytes] = {}
    headers: Headers = []
    host = b""
    length: int | None = None
    for name, value in fields:
        if name.startswith(b":"):
            pseudo[name] = value
            continue
        if not _NAME.match(name):
            raise Refusal(400, "Bad header field name")
        if name == b"host":
            host = value
            continue
        if name == b"content-length":
            if not value.isdigit() or (length is not None and length != int(value)):
                raise Refusal(400, "Bad content-length")
            length = int(value)
        elif name == b"upgrade":
            raise Refusal(400, "upgrade is not a field of HTTP/2")
        headers.append((bytes(name), bytes(value)))
    method = pseudo.get(b":method", b"")
    if method == b"CONNECT":
        raise Refusal(501, "CONNECT is not supported")
    if not _METHOD.match(method):
        raise Refusal(400, "Bad method")
    target = pseudo.get(b":path", b"").split(b"#", 1)[0]
    authority = pseudo.get(b":authority", host)
    check_target(method, target, authority)
    if ended:
        length = 0
    return RequestHead(method, target, authority, headers, length, "2")


def response_fields(status: int, headers: Headers) -> Headers:
    """The fields of a response, with its status as pseudo-field and names in lower case."""
    return [(b":status", b"%d" % status), *((name.lower(), value) for name, value in headers)]
