"""Session tickets under one key: OpenSSL's own client and server decide about resumption."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
from mcp_proxy.tls import openssl, ticket_keys
from mcp_proxy.tls.contexts import server_context
from pki import Authority

HOST = "a.t.example"

#: Takes every other field of the object for the `SSL_CTX *`: NULL, numbers, pointers to objects.
_WRONG_FIELDS = """
import _ssl, ssl
from mcp_proxy.tls import openssl, ticket_keys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.set_alpn_protocols(["h2"])
context.sni_callback = lambda *_: None
right, end = openssl._FIELD, _ssl._SSLContext.__basicsize__
for openssl._FIELD in [0, 8, *range(right + 8, end, 8)]:
    openssl._has_options.cache_clear()
    assert not ticket_keys.use(context, ticket_keys.new_key()), openssl._FIELD
print("refused all from", right + 8, "to", end)
"""


class Servers:
    """Contexts as several workers have them, and a client that keeps its session."""

    def __init__(self) -> None:
        self.authority = Authority()
        self.issued = self.authority.issue(HOST)
        self.client = ssl.create_default_context(cadata=self.authority.cert.decode())

    def worker(self, key: bytes | None) -> ssl.SSLContext:
        context = server_context(self.issued.cert, self.issued.key)
        if key is not None:
            assert ticket_keys.use(context, key)
        return context

    def visit(
        self, server: ssl.SSLContext, session: ssl.SSLSession | None
    ) -> tuple[bool, ssl.SSLSession]:
        """Whether *session* was resumed, and the session for the next visit."""
        up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
        one = server.wrap_bio(up, down, server_side=True)
        other = self.client.wrap_bio(down, up, server_hostname=HOST, session=session)
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
        assert other.session is not None
        return bool(other.session_reused), other.session


@pytest.fixture(scope="module")
def servers() -> Servers:
    return Servers()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_one_worker_resumes_what_another_began(servers: Servers, version: ssl.TLSVersion) -> None:
    servers.client = ssl.create_default_context(cadata=servers.authority.cert.decode())
    servers.client.minimum_version = servers.client.maximum_version = version
    key = ticket_keys.new_key()
    resumed, session = servers.visit(servers.worker(key), None)
    assert not resumed
    assert servers.visit(servers.worker(key), session)[0]
    # Without a common key, as after a change of keys, there is a full handshake and no error.
    assert not servers.visit(servers.worker(None), session)[0]
    assert not servers.visit(servers.worker(ticket_keys.new_key()), session)[0]


def test_a_key_changes_while_a_context_is_in_use(servers: Servers) -> None:
    first, second = ticket_keys.new_key(), ticket_keys.new_key()
    context = servers.worker(first)
    _, session = servers.visit(context, None)
    assert servers.visit(context, session)[0]
    assert ticket_keys.use(context, second)
    resumed, session = servers.visit(context, session)
    assert not resumed
    assert servers.visit(context, session)[0]


def test_it_is_left_alone_where_it_is_not_known(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = servers.worker(None)
    openssl.library.cache_clear()
    monkeypatch.setattr(openssl, "KNOWN", ((2, 7), (3, 0)))
    assert not ticket_keys.use(context, ticket_keys.new_key())
    openssl.library.cache_clear()


def test_an_object_with_other_fields_is_left_alone() -> None:
    """A wrong field is never followed: that would end the worker by a signal, or write anywhere."""
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", _WRONG_FIELDS],
        env={"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "refused all" in done.stdout


def test_the_interpreter_here_is_a_known_one() -> None:
    assert openssl.KNOWN[0] <= sys.version_info[:2] <= openssl.KNOWN[1]
    assert Path(ssl._ssl.__file__).exists()  # type: ignore[attr-defined]
