"""The header fields of requests and responses, as they are passed on, changed or left out."""

from __future__ import annotations

import pytest
from mcp_proxy.config.model import Upstream
from mcp_proxy.http.forwarding import host_value, request_bytes, response_headers, trailer_fields
from mcp_proxy.http.messages import Headers, RequestHead


def forwarded(
    headers: Headers, method: bytes = b"GET", length: int | None = 0, version: str = "1.1"
) -> list[bytes]:
    head = RequestHead(method, b"/p?q", b"a.t.example", headers, length, version)
    data = request_bytes(head, b"127.0.0.1", head.authority)
    assert data.endswith(b"\r\n\r\n")
    return data[:-4].split(b"\r\n")


def test_the_head() -> None:
    assert forwarded([(b"Accept", b"*/*")]) == [
        b"GET /p?q HTTP/1.1",
        b"Host: a.t.example",
        b"Accept: */*",
        b"X-Forwarded-For: 127.0.0.1",
        b"X-Forwarded-Host: a.t.example",
        b"X-Forwarded-Proto: https",
    ]


MCP = [
    (b"Mcp-Session-Id", b"abc"),
    (b"MCP-Protocol-Version", b"2025-11-25"),
    (b"Last-Event-ID", b"7"),
    (b"Authorization", b"Bearer secret"),
    (b"Accept-Encoding", b"gzip, br"),
    (b"Accept", b"application/json, text/event-stream"),
    (b"Origin", b"https://claude.ai"),
    (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
]


def test_what_mcp_needs_is_untouched() -> None:
    lines = forwarded(MCP)
    for name, value in MCP:
        assert name + b": " + value in lines


def test_hop_by_hop_fields_stay_here() -> None:
    lines = forwarded(
        [
            (b"Connection", b"keep-alive, X-Mine , close"),
            (b"connection", b"x-Too"),
            (b"Keep-Alive", b"timeout=5"),
            (b"Proxy-Connection", b"keep-alive"),
            (b"Proxy-Authorization", b"Basic x"),
            (b"TE", b"gzip"),
            (b"Upgrade", b"h2c"),
            (b"X-Mine", b"1"),
            (b"X-TOO", b"1"),
            (b"X-Theirs", b"1"),
        ]
    )
    names = {line.split(b":")[0].lower() for line in lines[1:]}
    forwarded_names = {b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"}
    assert names == {b"host", b"x-theirs"} | forwarded_names


def test_connection_cannot_remove_what_we_add() -> None:
    lines = forwarded([(b"Connection", b"host, content-length, x-forwarded-for")], b"POST", 3)
    assert b"Host: a.t.example" in lines
    assert b"Content-Length: 3" in lines
    assert b"X-Forwarded-For: 127.0.0.1" in lines


def test_forwarded_fields_of_the_client() -> None:
    lines = forwarded(
        [
            (b"X-Forwarded-For", b"192.0.2.1"),
            (b"X-Forwarded-For", b"192.0.2.2"),
            (b"X-Forwarded-Proto", b"http"),
            (b"X-Forwarded-Host", b"evil.example"),
        ]
    )
    assert b"X-Forwarded-For: 192.0.2.1, 192.0.2.2, 127.0.0.1" in lines
    assert b"X-Forwarded-Proto: https" in lines
    assert b"X-Forwarded-Host: a.t.example" in lines
    assert sum(line.lower().startswith(b"x-forwarded") for line in lines) == 3


@pytest.mark.parametrize(
    ("method", "length", "expected"),
    [
        (b"GET", 0, []),
        (b"POST", 0, [b"Content-Length: 0"]),
        (b"POST", 7, [b"Content-Length: 7"]),
        (b"POST", None, [b"Transfer-Encoding: chunked"]),
    ],
)
def test_framing_is_our_own(method: bytes, length: int | None, expected: list[bytes]) -> None:
    lines = forwarded([(b"Content-Length", b"99"), (b"Transfer-Encoding", b"x")], method, length)
    framing = (b"Content-Length", b"Transfer-Encoding")
    assert [line for line in lines if line.startswith(framing)] == expected


def test_trailers_are_asked_for_if_the_client_wants_them() -> None:
    lines = forwarded([(b"TE", b"deflate, Trailers;q=1"), (b"Connection", b"TE")])
    assert [line for line in lines if line.startswith(b"Connection")] == [b"Connection: TE"]
    assert b"TE: trailers" in lines


def test_cookies_of_http2_become_one_field() -> None:
    lines = forwarded([(b"cookie", b"a=1"), (b"cookie", b"b=2")], version="2")
    assert [line for line in lines if b"ookie" in line] == [b"Cookie: a=1; b=2"]


def test_response_fields() -> None:
    headers = [
        (b"Content-Type", b"text/event-stream"),
        (b"WWW-Authenticate", b'Bearer resource_metadata="https://a/.well-known/x"'),
        (b"Mcp-Session-Id", b"abc"),
        (b"Set-Cookie", b"a=1"),
        (b"Set-Cookie", b"b=2"),
        (b"Trailer", b"X-Sum"),
    ]
    hop = [
        (b"Connection", b"keep-alive, X-Mine"),
        (b"Keep-Alive", b"timeout=5"),
        (b"X-Mine", b"1"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Content-Length", b"3"),
        (b"Upgrade", b"h2c"),
        (b"Alt-Svc", b'h3=":443"'),
    ]
    assert response_headers(headers + hop) == headers


@pytest.mark.parametrize(
    "forged",
    [b"mcp-proxy; error=dns_error", b"cdn, mcp-proxy", b'"mcp-proxy"', b"MCP-Proxy"],
)
@pytest.mark.parametrize("name", [b"Proxy-Status", b"proxy-status"])
def test_no_upstream_speaks_in_the_name_of_this_proxy(name: bytes, forged: bytes) -> None:
    """RFC 9209 §2: each proxy writes its own member, and keeps those of the others."""
    others = [(b"Server", b"x"), (name, b"cdn; error=dns_timeout"), (b"Via", b"mcp-proxy")]
    assert response_headers([*others, (name, forged)]) == others
    assert trailer_fields([(b"X-Sum", b"1"), (name, forged)]) == [(b"X-Sum", b"1")]


def test_trailers_cannot_change_the_message() -> None:
    fields = [(b"X-Sum", b"1"), (b"Content-Length", b"3"), (b"Set-Cookie", b"a"), (b"Host", b"x")]
    fields += [(b"Alt-Svc", b"clear"), (b"Forwarded", b"for=a"), (b"X-Real-Ip", b"a")]
    assert trailer_fields(fields) == [(b"X-Sum", b"1")]


@pytest.mark.parametrize(
    ("upstream", "expected"),
    [
        (Upstream("http", "mcp.lan", 8000), b"mcp.lan:8000"),
        (Upstream("http", "mcp.lan", 80), b"mcp.lan"),
        (Upstream("https", "mcp.lan", 443), b"mcp.lan"),
        (Upstream("https", "10.0.0.1", 80), b"10.0.0.1:80"),
    ],
)
def test_rewritten_host(upstream: Upstream, expected: bytes) -> None:
    assert host_value(upstream) == expected
