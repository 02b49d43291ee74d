"""Responses of an upstream: the same in any pieces, and one response to the client or a cut one."""

from __future__ import annotations

import h11
from fakes import FakeConnection
from inputs import pieces
from mcp_proxy.config.model import Limits
from mcp_proxy.http.forwarding import response_headers, trailer_fields
from mcp_proxy.http.messages import ClientStream, Headers, RequestHead, ResponseHead
from mcp_proxy.http1.client import ResponseError, ResponseReader
from mcp_proxy.http1.server import Http1Server

_METHODS = ("GET", "HEAD", "POST")


class _PassedOn:
    """Hands a response on to a client's stream, as an exchange does."""

    def __init__(self, stream: ClientStream) -> None:
        self.stream = stream
        self.status = 0
        self.body = b""
        self.length: int | None = None
        self.interims: list[int] = []
        self.ended = False

    def response_interim(self, status: int, headers: Headers) -> None:
        assert 100 < status < 200 or status == 100
        assert not self.status
        self.interims.append(status)
        self.stream.send_interim(status, response_headers(headers))

    def response_head(self, head: ResponseHead) -> None:
        assert not self.status
        self.status, self.length = head.status, head.length
        self.stream.send_head(
            ResponseHead(head.status, response_headers(head.headers), head.length)
        )

    def response_body(self, data: bytes) -> None:
        assert self.status
        assert not self.ended
        self.body += data
        self.stream.send_body(data)

    def response_end(self, trailers: Headers) -> None:
        assert self.status
        assert not self.ended
        self.ended = True
        self.stream.send_end(trailer_fields(trailers))


class _Asked:
    """The client's request, which is only there to be answered."""

    def __init__(self) -> None:
        self.stream: ClientStream | None = None

    def __call__(self, head: RequestHead, stream: ClientStream) -> _Asked:
        self.stream = stream
        return self

    def request_end(self, trailers: Headers) -> None:
        """Nothing to do."""

    def client_gone(self) -> None:
        """Nothing to do."""

    pause = resume = client_gone


def _run(parts: list[bytes], method: str, closes: bool) -> tuple[object, _PassedOn, bytes]:
    asked = _Asked()
    server = Http1Server(asked, FakeConnection(), Limits())
    server.receive(f"{method} / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode())
    assert asked.stream is not None
    passed = _PassedOn(asked.stream)
    reader = ResponseReader()
    reader.begin(passed, method.encode())
    failed, surplus = False, 0
    output = b""
    try:
        for part in parts:
            if passed.ended:
                surplus += len(part)  # the connection ends with them (UpstreamConnection)
                continue
            reader.receive(part)
            output += b"".join(server.output())
        if closes and not passed.ended:
            reader.eof()
    except ResponseError:
        failed = True
    output += b"".join(server.output())
    if passed.ended:
        failed = failed or bool(surplus)
    seen = (passed.status, passed.body, passed.interims, passed.ended, failed and not passed.ended)
    return seen, passed, output


def one_input(data: bytes) -> None:
    """*data* is what an upstream sends, after one byte for the pieces and one for the rest."""
    if len(data) < 3:
        return
    method, closes = _METHODS[data[1] % 3], bool(data[1] & 8)
    seen, passed, output = _run([data[2:]], method, closes)
    again, _, _ = _run(pieces(data[2:], data[0]), method, closes)
    assert again == seen
    if passed.ended and passed.length is not None and method != "HEAD":
        assert passed.status in (204, 304) or len(passed.body) == passed.length
    _check_client(output, passed, method)


def _check_client(output: bytes, passed: _PassedOn, method: str) -> None:
    """h11, as the client, reads what was passed on: the same, or a response cut short."""
    client = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
    client.send(h11.EndOfMessage())
    if not output:
        assert not passed.status
        return
    client.receive_data(output)
    status, body, ended = 0, b"", False
    while (event := client.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
        if isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            ended = True
            break
        else:
            assert isinstance(event, h11.InformationalResponse)
    if passed.status < 200 and passed.status:
        return
    assert status == passed.status
    if method != "HEAD" and status not in (204, 304):
        assert body == passed.body
    if passed.ended:
        assert ended
        assert client.trailing_data[0] == b""
