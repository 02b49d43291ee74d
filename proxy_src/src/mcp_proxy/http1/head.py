"""The checks of a request's head before it is acted on (RFC 9112 §3, §6; RFC 9110 §7.2)."""

from __future__ import annotations

import re
from typing import Final

from ..http.forwarding import tokens
from ..http.messages import MAX_LENGTH, Headers, RequestHead
from ..http.rules import Refusal, check_authority, check_target

_READ_HERE: Final = frozenset((b"host", b"content-length", b"transfer-encoding"))
_HASH: Final = ord("#")  # to look for an octet is quicker than to look for bytes
_ABSOLUTE: Final = re.compile(rb"https?://([^/?#]*)(.*)\Z", re.IGNORECASE | re.DOTALL)


def request_head(
    method: bytes, target: bytes, fields: Headers, version: str, upgrade: bool = False
) -> RequestHead:
    """Interpret a parsed HTTP/1 head; *upgrade* if the parser stops after it for that.

    The values in *fields* have no blanks around them.

    Raises :class:`Refusal`.
    """
    if version not in ("1.1", "1.0"):
        raise Refusal(505, "HTTP version not supported")
    if method == b"CONNECT":
        raise Refusal(501, "CONNECT is not supported")
    hosts: list[bytes] = []
    headers: Headers = []
    length: int | None = 0
    for field in fields:
        key = field[0].lower()
        if key not in _READ_HERE:
            headers.append(field)
            continue
        value = field[1]
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
    if _HASH in target:
        target = target.split(b"#", 1)[0]
    check_target(method, target, authority)
    wanted = _upgrade(method, headers, length, version) if upgrade else b""
    return RequestHead(method, target, authority, headers, length, version, wanted)


def _upgrade(method: bytes, headers: Headers, length: int | None, version: str) -> bytes:
    """The protocol to offer to the upstream (RFC 6455 §4.1).

    No other protocol is granted, which RFC 9110 §7.8 allows: the request is an ordinary one. Above
    all ``h2c`` is not: nobody needs it (RFC 9113 §3.1), and requests could be hidden behind it.
    """
    if length != 0:
        # The parser would take the content for the other protocol.
        raise Refusal(501, "Upgrade of a request with content is not supported")
    if method == b"GET" and version == "1.1" and b"websocket" in tokens(headers, b"upgrade"):
        return b"websocket"
    return b""
