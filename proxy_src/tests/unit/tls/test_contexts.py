"""The inner TLS that is agreed on: OpenSSL's own client is the other side."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
from mcp_proxy.tls import openssl
from mcp_proxy.tls.contexts import server_context
from pki import Authority

HOST = "a.t.example"
_AES_128 = "TLS_AES_128_GCM_SHA256"
_NEW_SESSION_TICKET = 4  # RFC 8446, section 4


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def agree(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[str, list[int]]:
    """The suite agreed on, and the types of the handshake messages that the client got."""
    got: list[int] = []

    def note(_: Any, direction: str, _version: Any, content: Any, kind: Any, _data: Any) -> None:
        if direction == "read" and int(content) == 22:  # RFC 8446, section 5.1: handshake
            got.append(int(kind))

    client._msg_callback = note  # type: ignore[attr-defined]
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = server.wrap_bio(up, down, server_side=True)
    other = client.wrap_bio(down, up, server_hostname=HOST)
    done = 0
    while done < 2:
        done = 0
        for side in (other, one):
            try:
                side.do_handshake()
                done += 1
            except ssl.SSLWantReadError:
                pass
    one.write(b"x")
    assert other.read(1) == b"x"  # the tickets come with it
    cipher = other.cipher()
    assert cipher is not None
    return cipher[0], got


def contexts(authority: Authority) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    issued = authority.issue(HOST)
    client = ssl.create_default_context(cadata=authority.cert.decode())
    return server_context(issued.cert, issued.key), client


def test_the_cheapest_suite_is_preferred_and_no_other_one_lost(authority: Authority) -> None:
    server, client = contexts(authority)
    offered = [each["name"] for each in client.get_ciphers() if each["protocol"] == "TLSv1.3"]
    assert len(offered) > 1
    assert offered[0] != _AES_128, "the server decides, not the client"
    assert agree(server, client)[0] == _AES_128
    names = [each["name"] for each in server.get_ciphers() if each["protocol"] == "TLSv1.3"]
    assert sorted(names) == sorted(offered)
    assert names[1:] == [name for name in offered if name != _AES_128]


def test_a_full_handshake_ends_with_one_ticket(authority: Authority) -> None:
    server, client = contexts(authority)
    assert agree(server, client)[1].count(_NEW_SESSION_TICKET) == 1


def test_the_suites_stay_where_openssl_is_not_known(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    openssl.library.cache_clear()
    monkeypatch.setattr(openssl, "KNOWN", ((2, 7), (3, 0)))
    server, client = contexts(authority)
    assert agree(server, client)[0] != _AES_128
    openssl.library.cache_clear()


def test_suites_that_the_system_forbids_stay_forbidden(authority: Authority) -> None:
    server, _ = contexts(authority)
    found = openssl.found(server)
    assert found is not None
    found.set_suites(["TLS_AES_256_GCM_SHA384"])  # as a system's policy would
    assert not openssl.prefer_suite(server, _AES_128)
    names = [each["name"] for each in server.get_ciphers() if each["protocol"] == "TLSv1.3"]
    assert names == ["TLS_AES_256_GCM_SHA384"]
