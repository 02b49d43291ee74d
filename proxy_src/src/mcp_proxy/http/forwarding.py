"""The changes to header fields on the way through (RFC 9110 §7.6, RFC 9112 §6, RFC 9113 §8.2)."""

from __future__ import annotations

from typing import Final

from ..config.model import Upstream
from .messages import Headers, RequestHead
from .own_answers import PROXY_NAME

# RFC 9110 §7.6.1 names fields that must not be forwarded even if Connection forgets to list them.
# The sender of the next message writes the two framing fields anew. The credentials in
# Proxy-Authorization are for the first proxy that asked for them (§11.7.2).
_HOP_BY_HOP: Final = frozenset(
    (
        b"connection",
        b"content-length",
        b"http2-settings",
        b"keep-alive",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    )
)
# Fields by which a proxy says who has asked, how, and for which path. Upstreams believe them, so
# none comes from a client: three are written here, the others (RFC 7239 and its forerunners) end
# here.
_FORWARDED: Final = frozenset(
    (
        b"cf-connecting-ip",
        b"forwarded",
        b"path-info",
        b"script-name",
        b"true-client-ip",
        b"x-client-ip",
        b"x-cluster-client-ip",
        b"x-forwarded",
        b"x-forwarded-by",
        b"x-forwarded-client-cert",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-path",
        b"x-forwarded-port",
        b"x-forwarded-prefix",
        b"x-forwarded-proto",
        b"x-forwarded-protocol",
        b"x-forwarded-scheme",
        b"x-forwarded-server",
        b"x-forwarded-ssl",
        b"x-forwarded-uri",
        b"x-forwarded-user",
        b"x-original-forwarded-for",
        b"x-original-host",
        b"x-real-ip",
    )
)
_DROPPED_FROM_REQUESTS: Final = _HOP_BY_HOP | _FORWARDED | {b"host"}
# An alternative service (RFC 7838) would be one of the upstream's, which no client can reach.
_DROPPED_FROM_RESPONSES: Final = _HOP_BY_HOP | {b"alt-svc"}
_SPECIAL_IN_RESPONSES: Final = _DROPPED_FROM_RESPONSES | {b"proxy-status"}
_SPECIAL_IN_REQUESTS: Final = _DROPPED_FROM_REQUESTS | {b"cookie"}
_NOT_IN_TRAILERS: Final = frozenset(
    (
        b"alt-svc",
        b"authorization",
        b"content-encoding",
        b"content-range",
        b"content-type",
        b"cookie",
        b"proxy-status",
        b"set-cookie",
        b"trailer",
    )
)
# Methods whose content has a meaning, so that "no content" is worth a Content-Length: 0
# (RFC 9110 §8.6).
_CONTENT_METHODS: Final = frozenset((b"POST", b"PUT", b"PATCH"))
_UNDERSCORE: Final = ord("_")  # to look for an octet is quicker than to look for bytes
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def tokens(headers: Headers, name: bytes) -> set[bytes]:
    """The lower-case members of the comma-separated list in all *name* (lower-case) fields."""
    found: set[bytes] = set()
    for field, value in headers:
        if field.lower() == name:
            found.update(part.strip().lower() for part in value.split(b","))
    found.discard(b"")
    return found


def host_value(upstream: Upstream) -> bytes:
    """The Host that a client that talks to *upstream* directly would send (RFC 9110 §7.2)."""
    if upstream.port == _DEFAULT_PORTS[upstream.scheme]:
        return upstream.host.encode("ascii")
    return f"{upstream.host}:{upstream.port}".encode("ascii")


def request_bytes(head: RequestHead, peer: bytes, host: bytes) -> bytes:
    """The HTTP/1.1 head that an upstream gets for *head*.

    *peer* is the address of the immediate client, added to ``X-Forwarded-For``; *host* goes out as
    ``Host``. Content follows with the length that *head* states, or chunked.
    """
    length = head.length
    lines = []
    special: Headers = []
    for field in head.headers:
        key = field[0].lower()
        if key in _SPECIAL_IN_REQUESTS:
            special.append((key, field[1]))
        elif _UNDERSCORE not in key or not _is_dropped(key):
            lines.append(b": ".join(field))
    if special:
        lines, peer = _with_special(lines, special, peer)
    if head.upgrade:
        lines.append(b"Connection: Upgrade\r\nUpgrade: " + head.upgrade)
    if length is None:
        lines.append(b"Transfer-Encoding: chunked")
    elif length or head.method in _CONTENT_METHODS:
        lines.append(b"Content-Length: %d" % length)
    fields = b"\r\n".join(lines)
    return (
        b"%b %b HTTP/1.1\r\nHost: %b\r\n%b%bX-Forwarded-For: %b\r\n"
        b"X-Forwarded-Host: %b\r\nX-Forwarded-Proto: https\r\n\r\n"
    ) % (head.method, head.target, host, fields, b"\r\n" if fields else b"", peer, head.authority)


def _with_special(lines: list[bytes], special: Headers, peer: bytes) -> tuple[list[bytes], bytes]:
    """Return *lines* with those *special* fields that go on, and the ``X-Forwarded-For``."""
    named = tokens(special, b"connection")
    if named:
        lines = [line for line in lines if line.split(b":", 1)[0].lower() not in named]
    cookies = []
    forwarded_for = []
    trailers_wanted = False
    for key, value in special:
        if key == b"te":
            trailers_wanted = trailers_wanted or b"trailers" in value.lower()
        elif key in named:
            continue
        elif key == b"cookie":
            cookies.append(value)
        elif key == b"x-forwarded-for":
            forwarded_for.append(value)
    if cookies:
        # HTTP/2 may split the field; HTTP/1.1 must not (RFC 9113 §8.2.3).
        lines.append(b"Cookie: " + b"; ".join(cookies))
    if trailers_wanted:
        lines.append(b"TE: trailers\r\nConnection: TE")
    return lines, b", ".join((*forwarded_for, peer))


def response_headers(headers: Headers) -> Headers:
    """The fields of a response that concern the client.

    ``Content-Length`` is among the dropped: it is written anew from the length that was understood.
    A ``Proxy-Status`` that names this proxy is dropped too: no upstream speaks in its name.
    """
    kept = []
    connection = False
    for field in headers:
        key = field[0].lower()
        if key not in _SPECIAL_IN_RESPONSES:
            kept.append(field)
        elif key == b"proxy-status":
            if PROXY_NAME not in field[1].lower():
                kept.append(field)
        elif key == b"connection":
            connection = True
    if connection and (named := tokens(headers, b"connection")):
        kept = [field for field in kept if field[0].lower() not in named]
    return kept


def trailer_fields(headers: Headers) -> Headers:
    """Trailers without the fields that must not stand there (RFC 9110 §6.5.1)."""
    return [
        (name, value)
        for name, value in headers
        if not _is_dropped(key := name.lower()) and key not in _NOT_IN_TRAILERS
    ]


def _is_dropped(key: bytes) -> bool:
    """Whether the field *key* of a request ends here, with dashes or underscores in its name.

    Applications behind a gateway in the manner of CGI (WSGI, FastCGI) cannot tell them apart
    (RFC 3875 §4.1.18), so ``X_Forwarded_Host`` would be believed like the one set here.
    """
    return key.replace(b"_", b"-") in _DROPPED_FROM_REQUESTS
