"""The inner TLS: any input fails as documented, and data that was not sent is never read."""

from __future__ import annotations

import atexit
import shutil
import ssl
import tempfile
from pathlib import Path

from inputs import pieces
from mcp_proxy.tunnel.inner_tls import InnerTls, TlsFailed
from pki import Authority

_HOME = Path(tempfile.mkdtemp(prefix="fuzz-tls-"))
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
_AUTHORITY = Authority()
_SERVER = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
_SERVER.load_cert_chain(*_AUTHORITY.issue("x.example").write(_HOME))
_SERVER.set_alpn_protocols(["h2", "http/1.1"])
_CLIENT = ssl.create_default_context(cadata=_AUTHORITY.cert.decode())
_TEXT = bytes(range(256)) * 80


def one_input(data: bytes) -> None:
    """After a byte for the pieces and one for the time: before the handshake, within, or after."""
    if len(data) < 3:
        return
    parts = pieces(data[2:], data[0])
    if data[1] & 3 == 0:
        _take(InnerTls(_SERVER), parts, b"")
        return
    server = InnerTls(_SERVER)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = _CLIENT.wrap_bio(incoming, outgoing, server_hostname="x.example")
    _shake(client)
    if data[1] & 3 == 1:
        hello = bytearray(outgoing.read())
        _damage(hello, data[2:])
        _take(server, [bytes(hello)], b"")
        return
    for _ in range(2):
        server.feed(outgoing.read())
        server.handshake()
        incoming.write(server.output())
        _shake(client)
    server.feed(outgoing.read())
    assert server.handshake()
    client.write(_TEXT)
    records = bytearray(outgoing.read())
    if data[1] & 4:
        _damage(records, data[2:])
        _take(server, [bytes(records)], _TEXT)
    else:
        _take(server, [bytes(records), *parts], _TEXT)


def _shake(client: ssl.SSLObject) -> None:
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return


def _damage(wire: bytearray, data: bytes) -> None:
    for at in range(0, len(data) - 2, 3):
        place = int.from_bytes(data[at : at + 2], "big") % len(wire)
        wire[place] ^= data[at + 2]


def _take(server: InnerTls, parts: list[bytes], text: bytes) -> None:
    """Feed *parts*; what is read must be the beginning of *text*."""
    read = b""
    try:
        for part in parts:
            server.feed(part)
            if not server.handshake():
                continue
            while found := server.read():
                assert len(found) <= 16384
                read += found
            if found is None:
                break
            server.write(b"answer")
    except TlsFailed as failure:
        assert str(failure)
    server.output()
    server.close()
    assert text.startswith(read)
