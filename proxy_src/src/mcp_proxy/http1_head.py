"""What a request's head must look like before it is acted on (RFC 9112 §3, §6; RFC 9110 §7.2)."""

from __future__ import annotations

import re

from .messages import Headers, RequestHead

# RFC 3986 §3.2.2: what can stand in a host, without userinfo; empty is legal but routes nowhere.
_AUTHORITY = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]*\Z")
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)(.*)\Z", re.IGNORECASE | re.DOTALL)
_TARGET = re.compile(rb"[\x21-\x7e\x80-\xff]+\Z")


class Refusal(Exception):
    """A request that cannot be passed on, with the ``status`` to answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def valid_authority(authority: bytes) -> bool:
    """Whether *authority* can stand in a Host field."""
    return _AUTHORITY.match(authority) is not None


def valid_target(target: bytes) -> bool:
    """Whether *target* can stand in a request line."""
    return _TARGET.match(target) is not None


def request_head(method: bytes, target: bytes, fields: Headers, version: str) -> RequestHead:
    """Interpret a parsed HTTP/1 head. Raises :class:`Refusal`."""
    if version not in ("1.1", "1.0"):
        raise Refusal(505, "HTTP version not supported")
    hosts: list[bytes] = []
    headers: Headers = []
    length: int | None = 0
    for name, value in fields:
        key = name.lower()
        if key == b"host":
            hosts.append(value)
            continue
        if key == b"content-length":
            # The parser has made sure that it is a number, and the only one.
            length = int(value)
        elif key == b"transfer-encoding":
            if value.lower() != b"chunked" or version == "1.0":
                raise Refusal(501, "Transfer coding not supported")
            if length is None:
                raise Refusal(400, "Transfer coding applied twice")
            length = None
        headers.append((name, value))
    if len(hosts) > 1 or (not hosts and version == "1.1"):
        raise Refusal(400, "Exactly one Host field is needed")
    authority = hosts[0] if hosts else b""
    absolute = _ABSOLUTE.match(target)
    if absolute:
        # RFC 9112 §3.2.2: the target outranks Host.
        authority = absolute[1]
        target = absolute[2] or b"/"
        if not target.startswith(b"/"):
            target = b"/" + target
    elif not (target.startswith(b"/") or (target == b"*" and method == b"OPTIONS")):
        raise Refusal(400, "Bad request target")
    if not valid_authority(authority) or not valid_target(target):
        raise Refusal(400, "Bad request target or Host")
    return RequestHead(method, target.split(b"#", 1)[0], authority, headers, length, version)
