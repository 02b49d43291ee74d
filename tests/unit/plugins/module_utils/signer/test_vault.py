"""Certificates that Vault signs. Its HTTP API is played by a server in front of openssl's CA."""

from __future__ import annotations

import contextlib
import http.server
import json
import re
import subprocess
import threading

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki import crypto
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki.server import make_request
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.signer import (
    settings,
    sources,
    vault,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import openssl
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.fakes.company import Company
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.modules import (
    ensured,
    run_module,
)

DOMAIN = openssl.DOMAIN
TOKEN = "hvs.CAESIJ-planted-token-of-vault"


class Vault:
    """A server with the one call of Vault that is used, by its documentation."""

    def __init__(self, directory):
        self.company = Company(directory / "company")
        self.token_file = directory / "token"
        self.token_file.write_text(f"{TOKEN}\n")
        self.asked = []
        self.answer = None
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append((self.path, dict(self.headers), body))
                status, answer = outer.answer or outer.signed(self.path, self.headers, body)
                content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(content)

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def signed(self, path, headers, body):
        if headers["X-Vault-Token"] != TOKEN:
            return 403, {"errors": [f"permission denied for {headers['X-Vault-Token']}"]}
        if path != "/v1/pki/sign/tunnel":
            return 404, {"errors": []}
        # As openssl is asked by a program of the operator.
        done = subprocess.run(
            [str(self.company.path.with_name("sign-csr"))],
            input=body["csr"].encode(),
            capture_output=True,
            check=True,
            env={"PATH": "/usr/bin:/bin", "CREDENTIALS_DIRECTORY": str(self.company.directory)},
        )
        return 200, {"data": {"certificate": done.stdout.decode(), "ca_chain": [self.company.ca]}}

    @property
    def settings(self):
        given = {"source": "vault", "address": self.address, "path": "pki/sign/tunnel"}
        return {**given, "secret_file": str(self.token_file)}


@pytest.fixture
def served(tmp_path):
    served = Vault(tmp_path)
    # The name under which the program finds the CA's key.
    served.company.secret.rename(served.company.directory / "secret")
    thread = threading.Thread(target=served.server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield served
    served.server.shutdown()
    served.server.server_close()
    thread.join(20)


def request():
    return make_request(crypto.generate_key(), DOMAIN, [])


def told(served, credentials="", **changes):
    """Return the error of a signer with other settings."""
    signer = settings.read({**served.settings, **changes})
    with pytest.raises(TunnelError) as caught:
        sources.asker(signer, "2160h", credentials)(request())
    assert TOKEN not in str(caught.value)
    return str(caught.value)


def test_a_certificate_that_openssl_accepts(served, tmp_path):
    state = tmp_path / "state"
    ensured("tunnel_ca", path=str(state), certificate=served.company.ca)
    (state / "tunnel-domain").write_text(DOMAIN)
    given = {"state": "signed", "path": str(state), "domain": DOMAIN, "csr": request()}
    done = run_module("server_cert", **given, signer={**served.settings, "namespace": "team/a"})
    assert not done.failed, done.message
    openssl.verify(
        tmp_path / "judge", served.company.ca, done.result["certificate"], f"echo.{DOMAIN}"
    )
    assert TOKEN not in done.everything
    ((path, headers, body),) = served.asked
    assert path == "/v1/pki/sign/tunnel"
    assert headers["X-Vault-Namespace"] == "team/a"
    assert body == {"csr": given["csr"], "ttl": "7776000s", "format": "pem"}


def test_the_signer_of_a_timer_has_the_token_as_a_credential(served, tmp_path):
    served.token_file.rename(tmp_path / "secret")
    signer = settings.read(served.settings)
    assert "CERTIFICATE" in sources.asker(signer, "40d", str(tmp_path))(request())
    assert served.asked[0][2]["ttl"] == f"{40 * 86400}s"


ANSWERS = {
    "no JSON": ((200, b"<html>"), "answers without a certificate"),
    "no certificate": ((200, {"data": {"certificate": 7}}), "answers without a certificate"),
    "nothing": ((200, {"data": None}), "answers without a certificate"),
    "sealed": ((503, {"errors": ["Vault is sealed"]}), "answers HTTP 503: Vault is sealed. The"),
    "a long refusal": ((400, {"errors": ["x" * 9000]}), f"HTTP 400: {'x' * 500}..."),
    "a redirect": ((307, b""), "answers HTTP 307. The"),
    "too much": ((200, b"x" * 9_000_000), "answers with more than 8388608 bytes"),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_an_answer_that_is_none_is_an_error(served, kind):
    served.answer, problem = ANSWERS[kind]
    message = told(served)
    assert message.startswith(f"the signer {served.address}/v1/pki/sign/tunnel (mcp_tunnel_signer)")
    assert problem in message
    assert "The certificate in use stays." in message
    assert len(served.asked) == 1  # Vault keeps what it signs


def test_a_token_that_is_refused_is_not_shown(served):
    served.token_file.write_text("hvs.another-token")
    message = told(served)
    assert (
        "answers HTTP 403: permission denied for (token). The certificate in use stays. See the"
        in message
    )
    assert "another-token" not in message


def test_a_token_that_is_none(served, tmp_path):
    served.token_file.write_text("two words")
    assert f"mcp_tunnel_signer: {served.token_file} has no token" in told(served)
    served.token_file.unlink()
    assert f"{served.token_file} is no file" in told(served)


def test_a_path_that_is_none(served):
    assert "answers HTTP 404. The certificate in use stays. See the option path" in told(
        served, path="pki/sign/other"
    )


def test_one_that_hangs_or_is_away(served, monkeypatch):
    monkeypatch.setattr(vault, "_SECONDS", 0.5)
    event = threading.Event()
    monkeypatch.setattr(served, "signed", lambda *more: event.wait(120) or (500, b""))
    try:
        assert "The certificate in use stays." in told(served)
    finally:
        event.set()
    assert "The certificate in use stays." in told(served, address="http://127.0.0.1:9")


def test_its_own_ca_is_a_file(served, tmp_path):
    assert "is to be verified with /none, which is no file" in told(served, ca_file="/none")


GOOD = {
    "source": "vault",
    "address": "https://vault:8200",
    "path": "pki/sign/x",
    "secret_file": "/t",
}
WRONG = [
    ({"address": "http://vault:8200"}, "mcp_tunnel_signer['address']: is plain http to vault"),
    ({"address": ""}, "mcp_tunnel_signer['address']: is not a URL"),
    ({"address": 7}, "mcp_tunnel_signer['address']: is not a URL"),
    ({"path": ""}, "mcp_tunnel_signer['path']: is no path of Vault"),
    ({"path": "pki/sign/x?y"}, "mcp_tunnel_signer['path']: is no path of Vault"),
    ({"path": ["pki"]}, "mcp_tunnel_signer['path']: is no path of Vault"),
    ({"namespace": "a\nb"}, "mcp_tunnel_signer['namespace']: is no path of Vault"),
    ({"secret_file": ""}, "mcp_tunnel_signer['secret_file']: must be an absolute path"),
    ({"ca_file": "ca.crt"}, "mcp_tunnel_signer['ca_file']: must be an absolute path"),
    ({"command": ["/x"]}, "mcp_tunnel_signer['command']: is not known for the source vault"),
]


@pytest.mark.parametrize(("changes", "text"), WRONG)
def test_wrong_settings_are_refused(changes, text):
    with pytest.raises(TunnelError, match=re.escape(text)):
        settings.read({**GOOD, **changes})
    assert settings.read(GOOD)
