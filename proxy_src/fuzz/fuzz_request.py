"""Requests in HTTP/1.1: the same in any pieces, as h11 reads them, and unambiguous upstream."""

from __future__ import annotations

import re
from dataclasses import dataclass

import h11
import routed
from fakes import FakeConnection, FakeHandler, Requests
from inputs import pieces
from mcp_proxy.config.model import Limits, Upstream
from mcp_proxy.http.forwarding import request_bytes, trailer_fields
from mcp_proxy.http.messages import OnRequest
from mcp_proxy.http1.server import Http1Server
from mcp_proxy.upstream.router import Router
from wire import read_requests

_LIMITS = Limits(max_header_bytes=4096)
_ROUTER = Router({"echo": Upstream("http", "x", 80), "a.b": Upstream("http", "y", 80)}, "t.example")
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) [ -~]+\r\n")


@dataclass
class _Outcome:
    requests: list[FakeHandler]
    output: bytes
    ended: bool

    def seen(self) -> object:
        heads = [(r.head, r.body, r.trailers) for r in self.requests]
        return heads, _STATUS.findall(self.output), self.ended


def _serve(parts: list[bytes], on_request: OnRequest) -> tuple[bytes, bool]:
    server = Http1Server(on_request, FakeConnection(), _LIMITS)
    output = b""
    for part in parts:
        server.receive(part)
        output += b"".join(server.output())
    return output, server.finished


def _run(parts: list[bytes]) -> _Outcome:
    requests = Requests(answer=b"ok")
    output, ended = _serve(parts, requests)
    return _Outcome(list(requests), output, ended)


def _routed(parts: list[bytes], on_request: OnRequest) -> object:
    output, ended = _serve(parts, on_request)
    return _STATUS.findall(output), ended


def one_input(data: bytes) -> None:
    """*data* is what a client sends, after a byte that says in which pieces."""
    if len(data) < 2:
        return
    whole = _run([data[1:]])
    assert _run(pieces(data[1:], data[0])).seen() == whole.seen()
    for request in whole.requests:
        check_passed_on(request)
    # No answer without a request: one for each request, and one for the refusal.
    complete = [request for request in whole.requests if request.trailers is not None]
    finals = [status for status in _STATUS.findall(whole.output) if status[:1] != b"1"]
    assert len(complete) <= len(finals) <= len(complete) + 1, finals
    for ours, theirs in zip(complete, _h11(data[1:])):
        method, target, body = theirs
        assert (ours.head.method, ours.body) == (method, body)
        if target.startswith(b"/"):
            assert ours.head.target == target.split(b"#", 1)[0]
    with_options = routed.check(lambda on_request: _routed([data[1:]], on_request))
    in_pieces = routed.check(lambda on_request: _routed(pieces(data[1:], data[0]), on_request))
    assert in_pieces == with_options


def check_passed_on(request: FakeHandler) -> None:
    """Check that a strict reader sees one request in the bytes sent upstream for *request*."""
    head = request.head
    _ROUTER.lookup(head.authority.decode("latin-1"))
    wire = request_bytes(head, b"127.0.0.1", head.authority)
    if request.trailers is None:
        if head.length is None:
            wire += b"0\r\n\r\n"
        else:
            wire += b"x" * min(head.length, 1 << 20)
            if head.length > 1 << 20:
                return
    elif head.length is None:
        lines = b"".join(b"%b: %b\r\n" % field for field in trailer_fields(request.trailers))
        chunk = b"%x\r\n%b\r\n" % (len(request.body), request.body) if request.body else b""
        wire += chunk + b"0\r\n" + lines + b"\r\n"
    else:
        assert len(request.body) == head.length
        wire += request.body
    (read,) = read_requests(wire)
    assert (read.method, read.target) == (head.method, head.target)
    assert read.values(b"host") == [head.authority]
    if request.trailers is not None:
        assert read.body == request.body


def _h11(data: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """The complete requests that h11 finds before the first that it refuses."""
    found = []
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    method = target = body = b""
    try:
        connection.receive_data(data)
        while (event := connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            if isinstance(event, h11.Request):
                method, target, body = event.method, event.target, b""
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                found.append((method, target, body))
                connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is not h11.DONE:
                    break
                connection.start_next_cycle()
    except h11.ProtocolError:
        pass
    return found
