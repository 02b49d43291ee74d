"""An upstream that is addressed by its own address names that address in redirects."""

from __future__ import annotations

import pytest
from mcp_proxy.config.model import Upstream
from mcp_proxy.http.own_urls import public

PRIVATE = Upstream("http", "127.0.0.1", 8000)
PLAIN = Upstream("http", "wiki.lan", 80)
SECURE = Upstream("https", "wiki.lan", 443)


def seen(upstream: Upstream, value: str, name: str = "Location") -> str:
    fields = public([(b"X-Kept", b"1"), (name.encode(), value.encode())], upstream, b"a.t.example")
    assert [field for field, _ in fields] == [b"X-Kept", name.encode()]
    return fields[1][1].decode()


@pytest.mark.parametrize(
    ("upstream", "value", "expected"),
    [
        (PRIVATE, "http://127.0.0.1:8000/mcp/", "https://a.t.example/mcp/"),
        (PRIVATE, "https://127.0.0.1:8000/mcp/?q=1#f", "https://a.t.example/mcp/?q=1#f"),
        (PRIVATE, "HTTP://127.0.0.1:8000", "https://a.t.example"),
        (PRIVATE, "//127.0.0.1:8000/x", "https://a.t.example/x"),
        (PRIVATE, "http://127.0.0.1:8000?q", "https://a.t.example?q"),
        (PLAIN, "http://wiki.lan/x", "https://a.t.example/x"),
        (PLAIN, "http://Wiki.LAN:80/x", "https://a.t.example/x"),
        (PLAIN, "https://wiki.lan/x", "https://a.t.example/x"),
        (SECURE, "https://wiki.lan/x", "https://a.t.example/x"),
    ],
)
def test_its_own_address_becomes_the_clients(upstream: Upstream, value: str, expected: str) -> None:
    assert seen(upstream, value) == expected
    assert seen(upstream, value, "content-location") == expected
    assert seen(upstream, f"5; url={value}", "Refresh") == f"5; url={expected}"
    assert seen(upstream, f"0;URL='{value}'", "refresh") == f"0;URL='{expected}'"


@pytest.mark.parametrize(
    "value",
    [
        "/mcp/",
        "mcp",
        "",
        "http://127.0.0.1/mcp/",
        "http://127.0.0.1:80001/",
        "http://127.0.0.1:8000.evil.example/",
        "http://127.0.0.1:8000@evil.example/",
        "http://user@127.0.0.1:8000/",
        "http://127a0b0c1:8000/",
        "https://login.example/?next=http://127.0.0.1:8000/",
        "ftp://127.0.0.1:8000/",
        "https://a.t.example/",
    ],
)
def test_everything_else_stays(value: str) -> None:
    assert seen(PRIVATE, value) == value
    assert seen(PRIVATE, f"5; url={value}", "Refresh") == f"5; url={value}"


def test_other_fields_stay() -> None:
    for name in ("Link", "WWW-Authenticate", "X-Location"):
        assert seen(PRIVATE, "http://127.0.0.1:8000/", name) == "http://127.0.0.1:8000/"
