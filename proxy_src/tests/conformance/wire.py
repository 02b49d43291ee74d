"""A strict reader of HTTP/1.1 requests: all that the proxy sends must be of one form.

The parsers of upstreams differ, but not about a request that this reader takes (RFC 9112 §3, §5,
§6, §7.1; RFC 9110 §5.5, §5.6.2).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_LINE = re.compile(rb"(%b) ([\x21-\x7e\x80-\xff]+) HTTP/1\.1\Z" % _TOKEN)
_FIELD = re.compile(rb"(%b): ([\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*))?\Z" % _TOKEN)
_SIZE = re.compile(rb"[1-9a-f][0-9a-f]{0,7}\Z")
_SINGLE = (b"host", b"content-length", b"transfer-encoding", b"x-forwarded-host")


class Malformed(Exception):
    """The proxy may not send this."""


class Incomplete(Exception):
    """The bytes end before the request does."""


@dataclass(frozen=True)
class WireRequest:
    """A request as it stood on the wire, its content without the framing."""

    method: bytes
    target: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes
    trailers: tuple[tuple[bytes, bytes], ...]

    def values(self, name: bytes) -> list[bytes]:
        """The values of all fields called *name* (lower-case)."""
        return [value for field, value in self.fields if field.lower() == name]


def read_requests(data: bytes) -> list[WireRequest]:
    """All requests in *data*. Raises :class:`Malformed` or :class:`Incomplete`."""
    found = []
    while data:
        request, data = _read_request(data)
        found.append(request)
    return found


def _read_request(data: bytes) -> tuple[WireRequest, bytes]:
    head, data = _until(data, b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    match = _LINE.match(first)
    if not match:
        raise Malformed(first)
    fields = _fields(lines)
    names = [name.lower() for name, _ in fields]
    for name in _SINGLE:
        if names.count(name) > 1:
            raise Malformed(name)
    framing = {name.lower(): value for name, value in fields}
    if b"host" not in framing:
        raise Malformed(b"no Host")
    trailers: tuple[tuple[bytes, bytes], ...] = ()
    if b"transfer-encoding" in framing:
        if b"content-length" in framing or framing[b"transfer-encoding"] != b"chunked":
            raise Malformed(head)
        body, trailers, data = _chunked(data)
    else:
        length = framing.get(b"content-length", b"0")
        if not re.fullmatch(rb"0|[1-9][0-9]{0,18}", length):
            raise Malformed(head)
        body, data = _exactly(data, int(length))
    return WireRequest(match[1], match[2], fields, body, trailers), data


def _fields(lines: list[bytes]) -> tuple[tuple[bytes, bytes], ...]:
    fields = []
    for line in lines:
        match = _FIELD.match(line)
        if not match:
            raise Malformed(line)
        fields.append((match[1], match[2] or b""))
    return tuple(fields)


def _chunked(data: bytes) -> tuple[bytes, tuple[tuple[bytes, bytes], ...], bytes]:
    body = b""
    while True:
        size, data = _until(data, b"\r\n")
        if size == b"0":
            break
        if not _SIZE.match(size):
            raise Malformed(size)
        part, data = _exactly(data, int(size, 16))
        end, data = _exactly(data, 2)
        if end != b"\r\n":
            raise Malformed(end)
        body += part
    lines = []
    while True:
        line, data = _until(data, b"\r\n")
        if not line:
            return body, _fields(lines), data
        lines.append(line)


def _until(data: bytes, end: bytes) -> tuple[bytes, bytes]:
    before, found, after = data.partition(end)
    if not found:
        raise Incomplete
    return before, after


def _exactly(data: bytes, size: int) -> tuple[bytes, bytes]:
    if len(data) < size:
        raise Incomplete
    return data[:size], data[size:]
