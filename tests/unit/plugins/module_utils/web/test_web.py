from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import subprocess
import sys
import threading
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.web.messages import (
    NoAnswer,
    Request,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.web.places import (
    ca_bundle,
    check_url,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.web.web import Web
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import openssl
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.fakes.fake_http import (
    Answer,
    FakeHttp,
    json_answer,
)

COLLECTIONS = Path(__import__("ansible_collections.mcp_tunnels.stack").__path__[0]).parent
GOOD = json_answer(200, {"fine": True})
SECRET = "planted-secret-0123456789"


@pytest.fixture
def serve(direct, pauses):
    """Start a server that gives these answers in turn, and the last one for ever."""
    servers = []

    def start(*answers):
        left = list(answers)
        server = FakeHttp(lambda _asked: left.pop(0) if len(left) > 1 else left[0])
        servers.append(server.__enter__())
        return server

    yield start
    for server in servers:
        server.__exit__()


@pytest.mark.parametrize("status", [429, 500, 502, 504, 529])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_passing_faults_are_waited_for(serve, pauses, status, method):
    server = serve(Answer(status), Answer(status), GOOD)
    reply = Web().send(Request(method, server.url, wants_json=True))
    assert reply.fields == {"fine": True}
    assert len(server.asked) == 3
    assert 0.25 <= pauses[0] <= 0.5 <= pauses[1] <= 1


@pytest.mark.parametrize(
    "answer", [Answer(silent=True), Answer(200, b'{"a": 1}', cut=3), Answer(200, b"<html>")]
)
def test_lost_answers(serve, answer):
    server = serve(answer, answer, GOOD)
    request = Request("POST", server.url, body={}, wants_json=True)
    assert Web().send(request).fields == {"fine": True}

    server = serve(answer, GOOD)
    with pytest.raises(NoAnswer) as caught:
        Web().send(Request("POST", server.url, repeatable=False, wants_json=True))
    assert caught.value.sent
    assert len(server.asked) == 1


@pytest.mark.parametrize(("status", "asked"), [(429, 2), (500, 1), (529, 1), (400, 1), (401, 1)])
def test_what_must_not_happen_twice_is_repeated_when_refused(serve, status, asked):
    server = serve(Answer(status), GOOD)
    Web().send(Request("POST", server.url, repeatable=False))
    assert len(server.asked) == asked


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 409, 413])
def test_refusals_are_not_repeated_and_redirects_not_followed(serve, status):
    server = serve(Answer(status, headers=(("Location", "/elsewhere"),)))
    assert Web().send(Request("GET", server.url)).status == status
    assert len(server.asked) == 1


def test_the_last_answer_is_given_when_it_does_not_pass(serve, pauses):
    server = serve(Answer(503, b"busy"))
    assert Web(retries=2).send(Request("GET", server.url)).text == "busy"
    assert len(server.asked) == 3
    assert len(pauses) == 2


def from_now(seconds):
    """A date as HTTP writes it. Not for the name of a test: workers that differ run none."""
    return format_datetime(datetime.now(timezone.utc) + timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("7", 7, 7.25),
        ("0", 0, 0.25),
        ("86400", 60, 60.25),
        pytest.param(from_now(3000), 60, 60.25, id="a date to come"),
        pytest.param(from_now(-3000), 0, 0.25, id="a date gone by"),
        ("soon", 0.25, 0.5),
        ("-5", 0.25, 0.5),
    ],
)
def test_retry_after_is_honoured_up_to_a_minute(serve, pauses, value, least, most):
    server = serve(Answer(429, headers=(("Retry-After", value),)), GOOD)
    Web().send(Request("GET", server.url))
    assert least <= pauses[0] <= most


def test_a_server_that_is_not_there(direct, pauses):
    for repeatable in (True, False):
        request = Request("POST", "http://127.0.0.1:1/x?a=b", repeatable=repeatable)
        with pytest.raises(NoAnswer) as caught:
            Web(retries=1).send(request)
        assert not caught.value.sent
        assert "http://127.0.0.1:1/x: cannot be reached (Connection refused)" in str(caught.value)
    # Nothing was sent, so even a request that must not happen twice was tried again.
    assert len(pauses) == 2


def test_a_server_that_is_slow(direct, pauses):
    release = threading.Event()

    def respond(_asked):
        release.wait(120)
        return GOOD

    with FakeHttp(respond) as server:
        with pytest.raises(NoAnswer) as caught:
            Web(timeout=0.1, retries=0).send(Request("GET", server.url))
        release.set()
    assert caught.value.sent
    assert "did not answer (no answer in time)" in str(caught.value)


def test_an_endless_answer_is_given_up(serve):
    server = serve(Answer(200, b"x" * (8 * 1024 * 1024 + 1)))
    with pytest.raises(NoAnswer, match="answers with more than"):
        Web(retries=0).send(Request("GET", server.url))


def test_a_netrc_file_does_not_replace_credentials(serve, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login intruder password wrong")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    server = serve(GOOD)
    Web().send(Request("GET", server.url, headers={"Authorization": "Bearer right"}))
    Web().send(Request("GET", server.url))
    assert server.asked[0].headers["authorization"] == "Bearer right"
    assert "authorization" not in server.asked[1].headers


@pytest.mark.parametrize("how", ["environment", "option"])
def test_proxies(serve, monkeypatch, how):
    proxy = serve(GOOD)
    with_password = proxy.url.replace("//", f"//user:{SECRET}@")
    if how == "environment":
        monkeypatch.setenv("http_proxy", with_password)
    web = Web(proxy=with_password if how == "option" else None)
    assert web.send(Request("GET", "http://api.invalid/v1")).fields == {"fine": True}
    assert proxy.asked[0].headers["host"] == "api.invalid"
    with pytest.raises(NoAnswer):
        Web(direct=True, retries=0).send(Request("GET", "http://api.invalid/v1"))
    with pytest.raises(NoAnswer) as caught:
        Web(retries=0, proxy=f"http://user:{SECRET}@127.0.0.1:1").send(
            Request("GET", "https://api.invalid/v1")
        )
    assert "the proxy does not carry the request" in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.fixture
def proxy(direct, pauses):
    """Start a proxy that reads a request of each connection, and gives this answer or resets."""
    listeners, asked = [], []

    def serve(listener, answer):
        with contextlib.suppress(OSError):  # the listener was closed
            while True:
                connection, _address = listener.accept()
                received = connection.recv(65536)
                end = b"\r\n\r\n" if received.startswith(b"CONNECT") else b"{}"
                while not received.endswith(end):
                    received += connection.recv(65536)
                asked.append(received.split(b" ")[0])
                if answer:
                    connection.sendall(answer)
                else:
                    # Nothing lingers: the connection is closed by a reset.
                    now = struct.pack("ii", 1, 0)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, now)
                connection.close()

    def start(answer=b""):
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        threading.Thread(target=serve, args=(listener, answer), daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}", asked

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.mark.parametrize(
    ("scheme", "method"), [("http", b"POST"), ("https", b"CONNECT")], ids=["http", "https"]
)
def test_a_proxy_that_resets_may_have_carried_the_request(proxy, scheme, method):
    url, asked = proxy()
    request = Request("POST", f"{scheme}://api.invalid/v1", body={}, repeatable=False)
    with pytest.raises(NoAnswer) as caught:
        Web(retries=2, proxy=url).send(request)
    assert caught.value.sent
    assert asked == [method]
    assert "(Connection reset by peer)" in str(caught.value)


def test_a_proxy_that_refuses_has_not_carried_the_request(proxy, pauses):
    url, asked = proxy(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
    request = Request("POST", "https://api.invalid/v1", body={}, repeatable=False)
    with pytest.raises(NoAnswer) as caught:
        Web(retries=1, proxy=url).send(request)
    assert not caught.value.sent
    assert asked == [b"CONNECT"] * 2
    assert "the proxy does not carry the request" in str(caught.value)


@pytest.mark.parametrize("where", ["127.0.0.1:1", "proxy.invalid:1"])
def test_a_proxy_that_is_not_there(direct, pauses, where):
    for scheme in ("http", "https"):
        request = Request("POST", f"{scheme}://api.invalid/v1", repeatable=False)
        with pytest.raises(NoAnswer) as caught:
            Web(retries=1, proxy=f"http://{where}").send(request)
        assert not caught.value.sent
    assert len(pauses) == 2


def test_no_proxy_is_respected(serve, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert Web(retries=0).send(Request("GET", serve(GOOD).url)).is_good


@pytest.fixture
def tls_server(tmp_path, direct):
    """An HTTPS server for localhost and the CA that signed its certificate."""
    ca, ca_key = openssl.make_ca(tmp_path)
    (tmp_path / "ca.crt").write_text(ca)
    (tmp_path / "ca.key").write_text(ca_key)
    key = tmp_path / "server.key"
    key.write_text(openssl.make_key())
    openssl.run(
        "req", "-new", "-key", str(key), "-subj", "/CN=localhost", "-out", f"{tmp_path}/server.csr"
    )
    (tmp_path / "extensions").write_text("subjectAltName=DNS:localhost")
    openssl.run(
        *("x509", "-req", "-in", f"{tmp_path}/server.csr", "-days", "1", "-sha256"),
        *("-CA", f"{tmp_path}/ca.crt", "-CAkey", f"{tmp_path}/ca.key", "-CAcreateserial"),
        *("-extfile", f"{tmp_path}/extensions", "-out", f"{tmp_path}/server.crt"),
    )

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_arguments):
            pass

    class Quiet(HTTPServer):
        def handle_error(self, *_arguments):
            pass  # a client that does not trust us reports it in its own test

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.crt", key)
    server = Quiet(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"https://localhost:{server.server_address[1]}", str(tmp_path / "ca.crt")
    server.shutdown()
    server.server_close()


def test_certificates_are_verified(tls_server, pauses, monkeypatch):
    url, ca = tls_server
    with pytest.raises(NoAnswer) as caught:
        Web().send(Request("GET", url))
    assert "TLS failed (certificate verify failed:" in str(caught.value)
    assert "api_ca_bundle" in str(caught.value)
    assert pauses == []  # a retry would not help
    assert Web(bundle=ca).send(Request("GET", url)).status == 204
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        with monkeypatch.context() as patch:
            patch.setenv(variable, ca)
            assert Web().send(Request("GET", url)).status == 204
    with pytest.raises(NoAnswer, match="certificate verify failed"):
        Web(bundle=ca).send(Request("GET", url.replace("localhost", "127.0.0.1")))


def test_a_bundle_that_is_missing():
    with pytest.raises(TunnelError, match="api_ca_bundle: /nowhere does not exist"):
        ca_bundle("/nowhere")


def test_no_secret_is_in_an_exception_or_a_text(direct, pauses):
    request = Request(
        "POST",
        f"http://user:{SECRET}@127.0.0.1:1/?token={SECRET}",
        headers={"Authorization": f"Bearer {SECRET}"},
        body={"assertion": SECRET},
    )
    with pytest.raises(NoAnswer) as caught:
        Web(retries=0).send(request)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    for text in (str(caught.value), repr(caught.value), repr(request)):
        assert SECRET not in text
    for headers in ({"X": f"a\n{SECRET}"}, {"X": f"\u20ac{SECRET}"}):
        with pytest.raises(NoAnswer) as caught:
            Web(retries=0).send(Request("GET", "http://127.0.0.1:1", headers=headers))
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://api.anthropic.com",
        "https://api.example:8443/base",
        "http://localhost:8080",
        "http://127.1.2.3",
        "http://[::1]:1",
    ],
)
def test_urls_that_are_accepted(url):
    assert check_url(f" {url}/ ", "api_url") == url


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://api.anthropic.com", "is plain http to api.anthropic.com"),
        ("http://localhost.example", "is plain http"),
        ("http://10.0.0.1", "is plain http"),
        ("api.anthropic.com", "is not a URL"),
        ("ftp://api.anthropic.com", "is not a URL"),
        ("https://", "is not a URL"),
        ("https://[", "is not a URL"),
        ("https://api.example:port", "is not a URL"),
        ("", "is not a URL"),
        ("https://user@api.example", "carries a user"),
        ("https://api.example?x=1", "carries a user, a query"),
    ],
)
def test_urls_that_are_refused(url, problem):
    with pytest.raises(TunnelError) as caught:
        check_url(url, "api_url")
    assert str(caught.value).startswith(f"api_url: {problem}")


@pytest.mark.parametrize("module", ["server_cert", "tunnel_ca"])
def test_a_module_that_sends_nothing_loads_no_library_for_it(module):
    """Each run has these modules look at what is there, and they took longer for the libraries."""
    name = f"ansible_collections.mcp_tunnels.stack.plugins.modules.{module}"
    done = subprocess.run(
        [sys.executable, "-c", f"import {name}, sys; print(*sys.modules)"],
        env={"PYTHONPATH": str(COLLECTIONS)},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = done.stdout.split()
    assert name in loaded
    assert {"requests", "urllib3", "jwt"}.isdisjoint(loaded)
