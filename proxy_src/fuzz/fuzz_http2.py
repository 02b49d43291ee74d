"""HTTP/2 towards the client: the same in any pieces, whole frames out, unambiguous upstream."""

from __future__ import annotations

import routed
from fakes import FakeConnection, Requests
from fuzz_request import check_passed_on
from inputs import pieces
from mcp_proxy.config.model import Limits
from mcp_proxy.http.messages import OnRequest
from mcp_proxy.http2.server import Http2Server

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
_LIMITS = Limits(max_header_bytes=4096, max_streams=4)


def _serve(parts: list[bytes], on_request: OnRequest) -> tuple[bytes, bool]:
    server = Http2Server(on_request, FakeConnection(), _LIMITS, 60)
    for part in parts:
        if server.wants_input:
            server.receive(part)
    # Not before: a stream whose answer has left is another one to frames that come too late.
    return b"".join(server.output()), server.finished


def frames(data: bytes) -> bytes:
    """Frames out of *data*: type, flags, stream and length in five bytes, then the payload.

    Bytes that were frames already would nearly always end with the first length.
    """
    wire, at = b"", 0
    while at + 4 <= len(data):
        kind, flags, number, length = data[at : at + 4]
        payload = data[at + 4 : at + 4 + length]
        wire += len(payload).to_bytes(3, "big") + bytes((kind % 11, flags))
        wire += (number % 16).to_bytes(4, "big") + payload
        at += 4 + length
    return wire


def one_input(data: bytes) -> None:
    """After a byte for the pieces and one that says how the rest is meant: frames, or raw."""
    if len(data) < 3:
        return
    wire = _PREFACE + (data[2:] if data[1] & 1 else frames(data[2:]))
    requests, again = Requests(answer=b"ok"), Requests(answer=b"ok")
    output, ended = _serve([wire], requests)
    assert _serve(pieces(wire, data[0]), again)[1] == ended
    ours, others = ([(r.head, r.body, r.trailers) for r in which] for which in (requests, again))
    assert ours == others
    for request in requests:
        if request.trailers is not None:
            check_passed_on(request)
    while output:
        size = int.from_bytes(output[:3], "big")
        assert size <= 1 << 14
        assert len(output) >= 9 + size
        output = output[9 + size :]
    with_options = routed.check(lambda on_request: _serve([wire], on_request)[1])
    in_pieces = routed.check(lambda on_request: _serve(pieces(wire, data[0]), on_request)[1])
    assert in_pieces == with_options
