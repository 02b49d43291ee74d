"""The inner TLS against the client side of the ssl module."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import PLACES, cuts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcp_proxy.config.model import Tls
from mcp_proxy.tls.certificates import read_pair
from mcp_proxy.tls.contexts import server_context
from mcp_proxy.tunnel.inner_tls import InnerTls, TlsFailed
from pki import Authority

NAME = "a.t.example"


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, str]:
    home: Path = tmp_path_factory.mktemp("tls")
    authority = Authority()
    cert, key = authority.issue(NAME).write(home)
    pair = read_pair(Tls(cert, key))
    return server_context(pair.chain, pair.key), authority.cert.decode()


class Client:
    """The client's side, with both directions in memory."""

    def __init__(self, ca: str, name: str = NAME, alpn: tuple[str, ...] = ()) -> None:
        self.context = ssl.create_default_context(cadata=ca)
        if alpn:
            self.context.set_alpn_protocols(list(alpn))
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.name = name
        self.tls: ssl.SSLObject | None = None

    def handshake(self) -> bool:
        if self.tls is None:
            self.tls = self.context.wrap_bio(
                self.incoming, self.outgoing, server_hostname=self.name
            )
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True


def connect(server: InnerTls, client: Client, places: list[int]) -> None:
    done = ready = False
    for _ in range(10):
        ready = client.handshake()
        for part in cuts(client.outgoing.read(), places):
            server.feed(part)
            done = done or server.handshake()
        client.incoming.write(server.output())
        if done and ready:
            return
    raise AssertionError("no handshake")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(places=PLACES, data=st.binary(min_size=1, max_size=100_000))
def test_bytes_pass_whatever_the_chunks(
    contexts: tuple[ssl.SSLContext, str], places: list[int], data: bytes
) -> None:
    server, client = InnerTls(contexts[0]), Client(contexts[1])
    connect(server, client, places)
    assert client.tls is not None
    client.tls.write(data)
    received = b""
    for part in cuts(client.outgoing.read(), places):
        server.feed(part)
        while piece := server.read():
            received += piece
    assert received == data
    server.write(data[::-1])
    client.incoming.write(server.output())
    back = b""
    while len(back) < len(data):
        back += client.tls.read(1 << 20)
    assert back == data[::-1]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(places=PLACES, data=st.binary(min_size=1, max_size=100_000), room=st.integers(1, 1 << 16))
def test_a_buffer_is_filled_with_the_same_bytes(
    contexts: tuple[ssl.SSLContext, str], places: list[int], data: bytes, room: int
) -> None:
    server, client = InnerTls(contexts[0]), Client(contexts[1])
    connect(server, client, places)
    assert client.tls is not None
    client.tls.write(data)
    received = b""
    buffer = memoryview(bytearray(room))
    for part in cuts(client.outgoing.read(), places):
        server.feed(part)
        while server.unread and (piece := server.read_into(buffer)):
            received += piece
        assert not server.unread
    assert received == data


def test_a_buffer_is_filled_from_several_records_and_no_further(
    contexts: tuple[ssl.SSLContext, str],
) -> None:
    server, client = InnerTls(contexts[0]), Client(contexts[1])
    connect(server, client, [])
    assert client.tls is not None
    for record in (b"first", b"second", b"third"):
        client.tls.write(record)
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.unwrap()
    server.feed(client.outgoing.read())
    assert server.read_into(memoryview(bytearray(11))) == b"firstsecond"
    assert server.unread
    assert server.read() == b"third"
    assert server.unread, "the end is still to come"
    assert server.read_into(memoryview(bytearray(11))) is None


@pytest.mark.parametrize(
    ("offered", "agreed"),
    [(("h2", "http/1.1"), "h2"), (("http/1.1",), "http/1.1"), ((), ""), (("foo",), "")],
)
def test_alpn(contexts: tuple[ssl.SSLContext, str], offered: tuple[str, ...], agreed: str) -> None:
    server, client = InnerTls(contexts[0]), Client(contexts[1], alpn=offered)
    connect(server, client, [])
    assert server.alpn == agreed


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions(contexts: tuple[ssl.SSLContext, str], version: ssl.TLSVersion) -> None:
    server, client = InnerTls(contexts[0]), Client(contexts[1])
    client.context.minimum_version = client.context.maximum_version = version
    connect(server, client, [])
    assert server.version == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]


def test_a_session_that_is_resumed_is_told_from_a_new_one(
    contexts: tuple[ssl.SSLContext, str],
) -> None:
    server, client = InnerTls(contexts[0]), Client(contexts[1])
    connect(server, client, [])
    assert client.tls is not None
    server.write(b"a ticket comes with it")
    client.incoming.write(server.output())
    assert client.tls.read(1 << 20)
    again = InnerTls(contexts[0])
    client.tls = client.context.wrap_bio(
        client.incoming, client.outgoing, server_hostname=NAME, session=client.tls.session
    )
    connect(again, client, [])
    assert (server.resumed, again.resumed) == (False, True)


def test_close_notify_is_seen_and_sent(contexts: tuple[ssl.SSLContext, str]) -> None:
    server, client = InnerTls(contexts[0]), Client(contexts[1])
    connect(server, client, [])
    assert client.tls is not None
    client.tls.write(b"last words")
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.unwrap()
    server.feed(client.outgoing.read())
    assert server.read() == b"last words"
    assert server.read() is None
    server.close()
    client.incoming.write(server.output())
    client.tls.unwrap()


def test_garbage_instead_of_a_handshake(contexts: tuple[ssl.SSLContext, str]) -> None:
    server = InnerTls(contexts[0])
    server.feed(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(TlsFailed, match="http request"):
        server.handshake()


def test_a_client_that_does_not_trust_us(contexts: tuple[ssl.SSLContext, str]) -> None:
    server, client = InnerTls(contexts[0]), Client(Authority().cert.decode())
    client.handshake()
    server.feed(client.outgoing.read())
    server.handshake()
    client.incoming.write(server.output())
    with pytest.raises(ssl.SSLCertVerificationError):
        client.handshake()
    server.feed(client.outgoing.read())
    with pytest.raises(TlsFailed, match="alert unknown ca"):
        server.handshake()


@pytest.mark.parametrize(
    "read", [InnerTls.read, lambda server: server.read_into(memoryview(bytearray(9)))]
)
def test_a_broken_record_is_an_error_with_an_alert(
    contexts: tuple[ssl.SSLContext, str], read: Callable[[InnerTls], object]
) -> None:
    server, client = InnerTls(contexts[0]), Client(contexts[1])
    connect(server, client, [])
    assert client.tls is not None
    client.tls.write(b"secret")
    record = bytearray(client.outgoing.read())
    record[-1] ^= 1
    server.feed(bytes(record))
    with pytest.raises(TlsFailed):
        read(server)
    assert server.output()


def records(ciphertext: bytes) -> list[int]:
    """The lengths of the TLS records in *ciphertext*, by their headers (RFC 8446 §5.1)."""
    lengths = []
    while ciphertext:
        length = int.from_bytes(ciphertext[3:5], "big")
        lengths.append(length)
        ciphertext = ciphertext[5 + length :]
    return lengths


def test_what_is_long_begins_in_small_records(contexts: tuple[ssl.SSLContext, str]) -> None:
    server, client = InnerTls(contexts[0]), Client(contexts[1])
    connect(server, client, [])
    tag = 17  # AES-GCM's tag, and the byte of the type (RFC 8446 §5.2)
    server.write(b"short" * 800)
    ciphertext = server.output()
    assert records(ciphertext) == [4000 + tag], "something short is one record"
    client.incoming.write(ciphertext)
    assert client.tls is not None
    assert client.tls.read(16384) == b"short" * 800
    sent = b"".join(bytes((number,)) * 20_000 for number in range(5))
    ciphertext = b""
    for start in range(0, len(sent), 20_000):
        server.write(sent[start : start + 20_000])
        ciphertext += server.output()
    lengths = [length - tag for length in records(ciphertext)]
    assert lengths[:9] == [4096] * 4 + [20_000 - 4 * 4096] + [4096] * 3 + [
        32768 - 20_000 - 3 * 4096
    ]
    assert lengths[9:11] == [40_000 - 32768, 16384], "full ones from then on"
    assert sum(lengths) == len(sent)
    client.incoming.write(ciphertext)
    received = b""
    while len(received) < len(sent):
        received += client.tls.read(16384)
    assert received == sent
    server.write(b"x")
    server.output()
    server.write(b"x" * 20_000)
    assert records(server.output())[0] == 4096 + tag, "after something short it begins anew"
