from __future__ import annotations

import base64
import json

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import at_rest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.fakes import (
    stand_in_creds,
)

SECRET = b"planted-secret-of-a-host"
# Made by systemd 252 and 257 of the laboratory's hosts from "hello-secret", named tunnel-token.
REAL = [
    b"Whxqht+dQJax1aZeCGLxmiAAAAABAAAADAAAABAAAACr/PgJaqzGN0w5yHkAAAAAgUAAGcVkRMLgYSu\n"
    b"1sTz8MDNd9iHE4wEjDqdmO+ZRy8WsjTKyq8sCFo2zKNgLMSv1VQoF7NIOddqflsMl\n",
    b"Whxqht+dQJax1aZeCGLxmiAAAAABAAAADAAAABAAAACWq93E1oZNQdGgjbMAAAAAjr2FRXaC7Kqkr9z\n"
    b"GrErpCoOTJZWLYeXNL5bB+8eER6l10dKzuQ3inP38ybVk1OBXY0N53djS+VBczl80\n",
]


@pytest.mark.parametrize("content", REAL)
def test_the_form_of_a_real_credential(content):
    assert at_rest.form_of(content) == "host"


def test_a_key_that_needs_a_tpm():
    by_tpm = bytes.fromhex("0c7cc07b117645919c4b0bea08bc20fe") + bytes(80)
    assert at_rest.form_of(base64.encodebytes(by_tpm)) == "tpm2"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        b"-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\n-----END PRIVATE KEY-----\n",
        base64.b64encode(json.dumps({"a": "a" * 32, "t": "t" * 36, "s": "s" * 44}).encode()),
    ],
)
def test_what_is_in_clear(content):
    assert at_rest.form_of(content) == "none"
    assert at_rest.reveal(content, "name", "/path") == content


@pytest.mark.parametrize("form", ["host", "tpm2"])
def test_there_and_back(monkeypatch, tmp_path, form):
    log = stand_in_creds.install(monkeypatch, tmp_path, tpm=True)
    sealed = at_rest.seal(SECRET, "ca.key", form)
    assert at_rest.form_of(sealed) == form
    assert SECRET not in sealed
    assert SECRET not in base64.b64decode(sealed)
    assert at_rest.reveal(sealed, "ca.key", "/state/ca.key") == SECRET
    assert f"--with-key={form}" in log.read_text()
    assert SECRET.decode() not in log.read_text()


@pytest.mark.parametrize(("old", "pcrs"), [(False, ""), (True, "23")])
def test_a_firmware_update_ends_no_tunnel(monkeypatch, tmp_path, old, pcrs):
    """systemd 252 cannot decrypt without a PCR, which would cost the only copy of a secret."""
    log = stand_in_creds.install(monkeypatch, tmp_path, tpm=True, old=old)
    sealed = at_rest.seal(SECRET, "ca.key", "tpm2")
    assert f"--tpm2-pcrs={pcrs} " in log.read_text().splitlines()[-2]
    assert at_rest.reveal(sealed, "ca.key", "/state/ca.key") == SECRET


def test_a_register_that_is_in_use_would_lock_the_secrets_at_the_next_boot(monkeypatch, tmp_path):
    stand_in_creds.install(monkeypatch, tmp_path, tpm=True, old=True)
    register = tmp_path / "23"
    monkeypatch.setattr(at_rest, "_PCR_23", str(register))
    register.write_text(f"{'0' * 64}\n")
    assert at_rest.why_not("tpm2") == ""
    register.write_text(f"{'0' * 63}1\n")
    assert "PCR 23 of the TPM is not zero" in at_rest.why_not("tpm2")
    with pytest.raises(TunnelError, match="PCR 23 of the TPM is not zero"):
        at_rest.seal(SECRET, "ca.key", "tpm2")


def test_no_answer_is_no_reason_to_bind_secrets_to_a_register(monkeypatch, tmp_path):
    log = stand_in_creds.install(monkeypatch, tmp_path, tpm=True)
    program = log.with_name("systemd-creds")
    hangs = 'verb == "decrypt": import time; time.sleep(60)\nelif verb == ""'
    program.write_text(program.read_text().replace('verb == "decrypt"', hangs))
    monkeypatch.setattr(at_rest, "_SECONDS", 5.0)
    assert "cannot be run" in at_rest.why_not("tpm2")
    assert "--tpm2-pcrs=23" not in log.read_text()


@pytest.mark.parametrize("form", ["host", "tpm2"])
def test_a_secret_that_would_not_come_back_stays_as_it_is(monkeypatch, tmp_path, form):
    log = stand_in_creds.install(monkeypatch, tmp_path / "bin", tpm=True)
    program = log.with_name("systemd-creds")
    program.write_text(program.read_text().replace('verb == "decrypt"', 'verb == "never"'))
    key = tmp_path / "ca.key"
    key.write_bytes(SECRET)
    with pytest.raises(TunnelError, match=f"cannot be encrypted with .* {form}"):
        at_rest.convert(str(tmp_path), form, check_mode=False)
    assert key.read_bytes() == SECRET


def test_every_flipped_byte_is_one_clear_error(monkeypatch, tmp_path):
    stand_in_creds.install(monkeypatch, tmp_path)
    sealed = base64.b64decode(at_rest.seal(SECRET, "ca.key", "host"))
    for place in (*range(48), len(sealed) - 1):
        damaged = bytearray(sealed)
        damaged[place] ^= 0x11
        with pytest.raises(TunnelError) as caught:
            at_rest.reveal(base64.encodebytes(bytes(damaged)), "ca.key", "/state/ca.key")
        text = str(caught.value)
        assert text.startswith("/state/ca.key: cannot be decrypted")
        assert "restore.yml" in text
        assert SECRET.decode() not in text


def test_another_host_or_another_name_cannot_decrypt(monkeypatch, tmp_path):
    stand_in_creds.install(monkeypatch, tmp_path)
    sealed = at_rest.seal(SECRET, "ca.key", "host")
    with pytest.raises(TunnelError, match="cannot be decrypted"):
        at_rest.reveal(sealed, "tunnel-token", "/state/tunnel-token")
    stand_in_creds.install(monkeypatch, tmp_path, secret=b"another host")
    with pytest.raises(TunnelError, match="cannot be decrypted"):
        at_rest.reveal(sealed, "ca.key", "/state/ca.key")


def test_without_systemd_creds(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(at_rest, "_BOOTED", str(tmp_path))
    assert at_rest.resolve("none") == at_rest.resolve("auto") == "none"
    for form in ("host", "tpm2"):
        with pytest.raises(TunnelError) as caught:
            at_rest.resolve(form)
        assert f"mcp_tunnel_encryption_at_rest: is {form}, which needs systemd 250" in str(
            caught.value
        )
        with pytest.raises(TunnelError, match="systemd-creds cannot be run"):
            at_rest.seal(SECRET, "ca.key", form)


def test_what_a_host_can_do(monkeypatch, tmp_path):
    stand_in_creds.install(monkeypatch, tmp_path)
    assert at_rest.resolve("auto") == at_rest.resolve("host") == "host"
    with pytest.raises(TunnelError, match=r"which needs a TPM2 .*TPM2 support not installed"):
        at_rest.resolve("tpm2")
    stand_in_creds.install(monkeypatch, tmp_path, tpm=True)
    assert at_rest.resolve("tpm2") == "tpm2"
    # Its presence does not make it the default.
    assert at_rest.resolve("auto") == "host"
