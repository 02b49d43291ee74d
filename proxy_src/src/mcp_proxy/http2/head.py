"""Heads and trailers of HTTP/2 requests (RFC 9113 §8.2, §8.3)."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from ..http.messages import Headers, RequestHead
from ..http.rules import METHODS, Refusal, check_target
from .frames import ErrorCode, StreamFault

_METHOD: Final = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")
_SCHEME: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*\Z")
_NAME: Final = re.compile(rb"[a-z0-9!#$%&'*+.^_`|~-]+\Z")
# §8.2.1 forbids NUL, CR, LF and blanks at the ends; RFC 9110 §5.5 the other controls.
_VALUE: Final = re.compile(rb"(?:[^\0-\x20\x7f](?:[^\0-\x08\x0a-\x1f\x7f]*[^\0-\x20\x7f])?)?\Z")
_LENGTH: Final = re.compile(rb"[0-9]{1,18}\Z")
_PORTS: Final = {b"https": b":443", b"http": b":80"}
_PSEUDO: Final = frozenset((b":method", b":scheme", b":authority", b":path"))
_OF_THE_CONNECTION: Final = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)

ORDINARY: Final = 0
HOST: Final = 1
LENGTH: Final = 2
PSEUDO: Final = 3
MALFORMED: Final = 4


class Field(NamedTuple):
    """A field and what it is: ``ORDINARY`` or one of the others."""

    pair: tuple[bytes, bytes]
    kind: int


def interpret(name: bytes, value: bytes) -> Field:
    """Find out what the field *name* with *value* is."""
    return Field((name, value), _kind(name, value))


def _kind(name: bytes, value: bytes) -> int:
    if name.startswith(b":"):
        return PSEUDO if name in _PSEUDO else MALFORMED
    if not _NAME.match(name) or not _VALUE.match(value) or name in _OF_THE_CONNECTION:
        return MALFORMED
    if name == b"te" and value.lower() != b"trailers":  # §8.2.2
        return MALFORMED
    if name == b"content-length":
        return LENGTH if _LENGTH.match(value) else MALFORMED
    return HOST if name == b"host" else ORDINARY


def _malformed() -> StreamFault:
    return StreamFault(ErrorCode.PROTOCOL_ERROR)


def request_head(fields: list[Field], ended: bool) -> RequestHead:
    """Interpret a request's *fields*; *ended* if no content follows.

    Raises :class:`StreamFault` for what is no request of HTTP/2, :class:`Refusal` for one that is
    not served.
    """
    pseudo: dict[bytes, bytes] = {}
    headers: Headers = []
    hosts: set[bytes] = set()
    length: int | None = None
    in_front = True  # pseudo-fields come first
    for pair, kind in fields:
        if kind == PSEUDO:
            if not in_front or pair[0] in pseudo:
                raise _malformed()
            pseudo[pair[0]] = pair[1]
            continue
        in_front = False
        if kind == HOST:
            hosts.add(pair[1])
            continue
        if kind == LENGTH:
            if length is not None and length != int(pair[1]):
                raise _malformed()
            length = int(pair[1])
            continue  # written anew
        if kind == MALFORMED:
            raise _malformed()
        headers.append(pair)
    method = pseudo.get(b":method", b"")
    target = pseudo.get(b":path", b"")
    authority = _authority(pseudo, hosts)
    if method == b"CONNECT":
        if len(pseudo) == 2:  # §8.5
            raise Refusal(501, "CONNECT is not supported")
        raise _malformed()
    if not (_METHOD.match(method) and target and _SCHEME.match(pseudo.get(b":scheme", b""))):
        raise _malformed()
    if ended and length:
        raise _malformed()  # §8.1.1
    if method not in METHODS:
        raise Refusal(400, "Unknown method")
    target = target.split(b"#", 1)[0]
    check_target(method, target, authority)
    return RequestHead(method, target, authority, headers, 0 if ended else length, "2")


def _authority(pseudo: dict[bytes, bytes], hosts: set[bytes]) -> bytes:
    """Who is asked: ``:authority``, or ``Host`` of a request that came over HTTP/1.1 (§8.3.1).

    If there are both, they name the same entity, in whatever spelling.
    """
    authority = pseudo.get(b":authority")
    if len(hosts) > 1 or not (authority or hosts):
        raise _malformed()
    if authority is None:
        authority = hosts.pop()
    elif hosts and (host := hosts.pop()) != authority:
        port = _PORTS.get(pseudo.get(b":scheme", b"").lower(), b"")
        if _normal(host, port) != _normal(authority, port):
            raise _malformed()
    if not authority:
        raise _malformed()
    return authority


def _normal(authority: bytes, port: bytes) -> bytes:
    """*authority* in lower case, without the default *port* or an empty one (RFC 3986 §6.2.3)."""
    authority = authority.lower()
    return authority.removesuffix(b":").removesuffix(port)


def request_trailers(fields: list[Field]) -> Headers:
    """The trailers that *fields* are; raises :class:`StreamFault` (§8.1)."""
    if any(field.kind >= PSEUDO for field in fields):
        raise _malformed()
    return [field.pair for field in fields]
