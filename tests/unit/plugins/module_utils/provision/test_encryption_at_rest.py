"""The secrets of a state directory, encrypted: made, read, changed, converted, copied, damaged."""

from __future__ import annotations

import base64
import os
import shutil
import stat

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.copies import restore
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.copies.state import read_state
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.support import secrets
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import openssl
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.fakes import (
    stand_in_creds,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.modules import (
    ensured,
    kill_everywhere,
    refused,
    run_module,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.tokens import make_token

DOMAIN = "abcd1234.tunnel.example"
SECRETS = ("ca.key", "tunnel-token")


@pytest.fixture
def creds(monkeypatch, tmp_path):
    """Give this host a systemd-creds; its log is all that was in arguments."""
    return stand_in_creds.install(monkeypatch, tmp_path / "bin")


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state" / "default"


def make(state, encryption, token):
    ensured("tunnel_ca", path=str(state), encryption=encryption)
    stored(state, encryption, token)


def stored(state, encryption, token=None):
    given = {"token": token} if token else {}
    return ensured("tunnel_token", path=str(state), domain=DOMAIN, encryption=encryption, **given)


def is_clear(path):
    """Whether the file has a secret of ours that anybody can read, by its first letters."""
    return path.read_bytes().startswith((b"-----BEGIN", b"eyJ"))


def everything_below(directory):
    return b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())


def test_no_secret_was_ever_on_the_disk(creds, state, monkeypatch):
    """Not even in a file that was removed since: every content that is written is looked at."""
    written = []
    fdopen = os.fdopen

    def watched(descriptor, mode="r", *arguments, **options):
        stream = fdopen(descriptor, mode, *arguments, **options)
        if "w" in mode:
            write = stream.write
            stream = _Watched(stream, lambda content: (written.append(content), write(content)))
        return stream

    monkeypatch.setattr(os, "fdopen", watched)
    token = make_token()
    make(state, "host", token)
    everything = b"".join(map(bytes, written)) + everything_below(state)
    assert len(written) >= 4
    assert b"PRIVATE KEY" not in everything
    assert token.encode() not in everything
    assert b"BEGIN CERTIFICATE" in everything
    assert token not in creds.read_text()
    assert "PRIVATE" not in creds.read_text()


class _Watched:
    def __init__(self, stream, write):
        self._stream, self.write = stream, write

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def __enter__(self):
        self._stream.__enter__()
        return self

    def __exit__(self, *reasons):
        return self._stream.__exit__(*reasons)


def test_the_second_run_changes_nothing_and_the_key_is_still_that_of_the_ca(creds, state):
    token = make_token()
    make(state, "host", token)
    before = everything_below(state)
    again = ensured("tunnel_ca", path=str(state), encryption="host")
    assert not again["changed"]
    assert stored(state, "host", token)["already_stored"]
    assert not stored(state, "host")["changed"]
    assert everything_below(state) == before
    read = ensured("stored_token", path=str(state / "tunnel-token"))
    assert base64.b64decode(read["content"]).decode() == token


def test_from_clear_to_encrypted_and_back(creds, state):
    token = make_token()
    make(state, "none", token)
    key, fingerprint = (state / "ca.key").read_bytes(), read_state(str(state)).fingerprint()
    assert is_clear(state / "ca.key")
    assert is_clear(state / "tunnel-token")
    for encryption in ("host", "none"):
        done = ensured("tunnel_ca", path=str(state), encryption=encryption)
        assert done["diff"]["after"]["encryption"] == dict.fromkeys(SECRETS, encryption)
        assert [is_clear(state / name) for name in SECRETS] == [encryption == "none"] * 2
        assert {stat.S_IMODE((state / name).stat().st_mode) for name in SECRETS} == {0o600}
        assert not ensured("tunnel_ca", path=str(state), encryption=encryption)["changed"]
        # Copies of the state on other replicas stay what they are: copies of this state.
        assert read_state(str(state)).fingerprint() == fingerprint
    assert (state / "ca.key").read_bytes() == key
    assert sorted(os.listdir(state)) == ["ca.crt", "ca.key", "tunnel-domain", "tunnel-token"]


def test_without_the_option_a_secret_keeps_its_form(creds, state):
    make(state, "host", make_token())
    new = make_token(secret=b"y" * 32)
    ensured("tunnel_token", path=str(state), token=new)
    ensured("tunnel_ca", path=str(state), regenerate="never")
    assert not is_clear(state / "tunnel-token")
    assert not is_clear(state / "ca.key")
    # A CA is replaced together with its key, which waits beside it for a moment.
    run_module("tunnel_ca", path=str(state), regenerate="always")
    assert not is_clear(state / "ca.key")


def test_a_conversion_that_was_killed_is_completed_by_the_next_run(creds, tmp_path):
    made = tmp_path / "made"
    make(made, "none", make_token())
    state = tmp_path / "state"

    def prepare():
        shutil.rmtree(state, ignore_errors=True)
        shutil.copytree(made, state)

    def convert():
        run_module("tunnel_ca", path=str(state), encryption="host")

    def check(step):
        # Whatever is there can be read, in either form.
        assert read_state(str(state)).fingerprint() == read_state(str(made)).fingerprint(), step
        convert()
        assert not any(is_clear(state / name) for name in SECRETS), step
        assert sorted(os.listdir(state)) == sorted(os.listdir(made)), step

    assert kill_everywhere(prepare, convert, check) > 6


def test_a_copy_has_the_secrets_and_comes_back_encrypted(creds, state, tmp_path, monkeypatch):
    token = make_token()
    make(state, "host", token)
    copy = read_state(str(state))
    assert copy.text("tunnel-token") == token
    assert "PRIVATE KEY" in copy.text("ca.key")
    # Onto another host, which has another secret.
    stand_in_creds.install(monkeypatch, tmp_path / "bin", secret=b"another host")
    with pytest.raises(TunnelError, match="cannot be decrypted"):
        read_state(str(state))
    target = tmp_path / "restored" / "default"
    restore.restore(str(target), copy, "2026-11-29T05:00:00Z", check_mode=False, encryption="host")
    assert not is_clear(target / "ca.key")
    assert not is_clear(target / "tunnel-token")
    assert read_state(str(target)).fingerprint() == copy.fingerprint()
    assert not restore.restore(str(target), copy, "2026-11-29T05:00:00Z", check_mode=False)[
        "changed"
    ]


@pytest.mark.parametrize("name", SECRETS)
def test_a_flipped_byte_is_one_clear_error(creds, state, name):
    make(state, "host", make_token())
    content = bytearray((state / name).read_bytes())
    content[-8] = ord("A") if content[-8] != ord("A") else ord("B")
    (state / name).write_bytes(content)
    before = everything_below(state)
    for module in ("tunnel_ca", "tunnel_token"):
        needed = {"domain": DOMAIN} if module == "tunnel_token" else {"encryption": "none"}
        if module == "tunnel_token" and name == "ca.key":
            continue
        message = refused(module, path=str(state), **needed)
        assert message.startswith(f"{state}/{name}: cannot be decrypted"), module
        assert "restore.yml" in message
    assert everything_below(state) == before


def test_a_damaged_token_is_replaced_by_a_given_one(creds, state):
    make(state, "host", make_token())
    content = bytearray((state / "tunnel-token").read_bytes())
    content[-8] ^= 1
    (state / "tunnel-token").write_bytes(content)
    token = make_token(secret=b"z" * 32)
    assert stored(state, "host", token)["changed"]
    assert read_state(str(state)).text("tunnel-token") == token


def test_signing_with_an_encrypted_key(creds, state, tmp_path):
    make(state, "host", make_token())
    replica = tmp_path / "tls"
    replica.mkdir()
    ca = (state / "ca.crt").read_text()
    both = {"domain": DOMAIN, "ca_certificate": ca, "owner": "root", "group": "root"}
    asked = run_module("server_cert", state="requested", path=str(replica), **both).result
    signed = ensured(
        "server_cert", state="signed", path=str(state), domain=DOMAIN, csr=asked["csr"]
    )
    openssl.verify(tmp_path, ca, signed["certificate"], DOMAIN)
    assert not is_clear(state / "ca.key")


@pytest.fixture
def replica(creds, state, tmp_path):
    """A replica's directory with a pair in clear, and how a run looks at it and renews it."""
    make(state, "none", make_token())
    directory = tmp_path / "tls"
    directory.mkdir()
    return _Replica(state, directory)


class _Replica:
    def __init__(self, state, directory):
        self.state, self.directory = state, directory
        self.key = directory / "tls.key"
        self.common = {
            "path": str(directory),
            "domain": DOMAIN,
            "ca_certificate": (state / "ca.crt").read_text(),
            "owner": "root",
            "group": "root",
        }

    def look(self, **more):
        return run_module("server_cert", state="requested", **self.common, **more).result

    def renew(self, **more):
        (self.directory / "tls.crt").unlink(missing_ok=True)
        csr = self.look(**more)["csr"]
        signed = run_module(
            "server_cert", state="signed", path=str(self.state), domain=DOMAIN, csr=csr
        ).result["certificate"]
        done = run_module(
            "server_cert", state="installed", certificate=signed, **self.common, **more
        )
        assert not done.failed, done.message
        return openssl.public_key_of_certificate((self.directory / "tls.crt").read_text())


def test_a_new_certificate_has_the_encrypted_key_and_no_other(replica):
    """A running proxy has been given that one, and is given none before its next start."""
    first = replica.renew(encryption="host")
    assert not is_clear(replica.key)
    content = replica.key.read_bytes()
    assert replica.renew(encryption="host") == first
    # renew_cert.yml does not say how the host keeps its secrets.
    assert replica.renew() == first
    assert replica.key.read_bytes() == content
    assert not replica.look(encryption="host")["changed"]
    assert sorted(os.listdir(replica.directory)) == ["tls.crt", "tls.key"]


def test_a_key_in_clear_is_made_anew_with_each_certificate(replica):
    assert replica.renew(encryption="none") != replica.renew(encryption="none")


def test_the_key_of_a_replica_there_and_back(replica):
    first = replica.renew(encryption="none")
    key = replica.key.read_bytes()
    for encryption in ("host", "none"):
        done = replica.look(encryption=encryption)
        assert done["changed"]
        assert not done["needed"]
        assert done["diff"]["after"]["encryption"] == encryption
        assert is_clear(replica.key) == (encryption == "none")
        assert not replica.look(encryption=encryption)["changed"]
    assert replica.key.read_bytes() == key
    assert first == openssl.public_key_of_key(key.decode())


def test_a_service_reads_the_key_that_systemd_has_decrypted(replica, monkeypatch, tmp_path):
    """The renewal's unit has no way to the host's secret or the TPM."""
    first = replica.renew(encryption="none")
    handed = tmp_path / "credentials"
    handed.mkdir()
    (handed / "tls.key").write_bytes(replica.key.read_bytes())
    replica.look(encryption="host")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(handed))
    stand_in_creds.install(monkeypatch, tmp_path / "bin", secret=b"none that this service can read")
    assert not replica.look()["needed"]
    assert replica.renew() == first


def test_a_brought_key_is_encrypted(replica):
    replica.renew(encryption="none")
    pair = (replica.directory / "tls.crt").read_text(), replica.key.read_text()
    for path in (replica.directory / "tls.crt", replica.key):
        path.unlink()
    done = run_module(
        "server_cert",
        state="installed",
        certificate=pair[0],
        private_key=pair[1],
        encryption="host",
        **replica.common,
    )
    assert not done.failed, done.message
    assert not is_clear(replica.key)
    assert pair[1].split("\n")[1] not in done.everything


def test_the_search_of_an_archive_knows_the_secrets(creds, state):
    token = make_token()
    make(state, "host", token)
    names = [secret.name for secret in secrets.known([state]).secrets]
    assert any(name.startswith("the private key in") for name in names)
    assert any(name.startswith("the tunnel token in") for name in names)


def test_a_host_that_cannot_is_refused_before_anything_is_made(state, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    message = refused("tunnel_ca", path=str(state), encryption="host")
    assert message.startswith("mcp_tunnel_encryption_at_rest: is host, which needs systemd 250")
    assert not state.exists()
    ensured("tunnel_ca", path=str(state), encryption="auto")
    assert is_clear(state / "ca.key")
