from __future__ import annotations

import os
import stat
from datetime import timedelta

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki import ca as pki_ca
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki import crypto
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import openssl
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.modules import (
    ensured,
    kill_everywhere,
    refused,
    run_module,
    without_library,
)


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state" / "default"


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


def body_of(key):
    return "".join(key.split("\n")[1:2])


def test_a_ca_is_made_once(state):
    result = ensured("tunnel_ca", path=str(state))
    assert result["changed"]
    assert (mode_of(state), mode_of(state / "ca.crt"), mode_of(state / "ca.key")) == (
        0o700,
        0o600,
        0o600,
    )
    assert sorted(os.listdir(state)) == ["ca.crt", "ca.key"]
    assert (state / "ca.crt").read_text() == result["certificate"]
    assert openssl.public_key_of_certificate(result["certificate"]) == openssl.public_key_of_key(
        (state / "ca.key").read_text()
    )
    assert result["private_key_stored"]
    assert result["subject"] == "CN=MCP tunnel CA"
    for fact in (str(state / "ca.crt"), result["fingerprint"], result["not_after"], "Console"):
        assert fact in result["registration"]

    again = ensured("tunnel_ca", path=str(state))
    assert not again["changed"]
    assert again["certificate"] == result["certificate"]
    assert again["diff"]["before"] == again["diff"]["after"]


def test_check_mode_on_a_bare_host(state):
    outcome = run_module("tunnel_ca", check=True, path=str(state))
    assert outcome.changed
    assert outcome.result["certificate"] == outcome.result["fingerprint"] == ""
    assert outcome.result["private_key_stored"]
    assert not state.parent.exists()


def test_a_brought_ca(state, openssl_ca):
    certificate, key = openssl_ca
    result = ensured("tunnel_ca", path=str(state), certificate=certificate, private_key=key)
    assert result["changed"]
    assert result["private_key_stored"]
    assert openssl.public_key_of_key((state / "ca.key").read_text()) == openssl.public_key_of_key(
        key
    )
    again = {"path": str(state), "certificate": certificate, "private_key": key}
    assert not ensured("tunnel_ca", **again)["changed"]
    # A stored CA need not be brought again.
    assert not ensured("tunnel_ca", path=str(state), certificate=certificate)["changed"]
    assert not ensured("tunnel_ca", path=str(state))["changed"]


def test_check_mode_knows_a_brought_ca(state, openssl_ca):
    outcome = run_module("tunnel_ca", check=True, path=str(state), certificate=openssl_ca[0])
    assert outcome.result["certificate"].split() == openssl_ca[0].split()
    assert not outcome.result["private_key_stored"]


def test_a_brought_ca_without_key_and_its_key_later(state, openssl_ca):
    certificate, key = openssl_ca
    result = ensured("tunnel_ca", path=str(state), certificate=certificate)
    assert not result["private_key_stored"]
    assert os.listdir(state) == ["ca.crt"]
    result = ensured("tunnel_ca", path=str(state), certificate=certificate, private_key=key)
    assert result["changed"]
    assert result["private_key_stored"]
    assert sorted(os.listdir(state)) == ["ca.crt", "ca.key"]


def test_another_ca_is_refused_unless_asked_for(state, openssl_ca):
    made = ensured("tunnel_ca", path=str(state))
    key_before = (state / "ca.key").read_text()
    for check in (True, False):
        message = refused("tunnel_ca", check=check, path=str(state), certificate=openssl_ca[0])
        assert made["fingerprint"] in message
        assert "regenerate: always" in message
    assert (state / "ca.key").read_text() == key_before

    brought = {"certificate": openssl_ca[0], "private_key": openssl_ca[1]}
    result = ensured("tunnel_ca", path=str(state), regenerate="always", **brought)
    assert result["changed"]
    assert result["diff"]["before"]["certificate"]["fingerprint"] == made["fingerprint"]
    # The CA is there now: bringing it "always" changes nothing any more.
    assert not ensured("tunnel_ca", path=str(state), regenerate="always", **brought)["changed"]


def test_a_replacement_without_key_removes_the_old_key(state, openssl_ca):
    ensured("tunnel_ca", path=str(state))
    result = ensured("tunnel_ca", path=str(state), certificate=openssl_ca[0], regenerate="always")
    assert not result["private_key_stored"]
    assert os.listdir(state) == ["ca.crt"]


def test_always_makes_a_new_ca(state):
    first = ensured("tunnel_ca", path=str(state))
    second = ensured("tunnel_ca", path=str(state), regenerate="always")
    assert second["changed"]
    assert first["fingerprint"] != second["fingerprint"]
    assert not ensured("tunnel_ca", path=str(state))["changed"]


def test_a_key_without_certificate_is_used(state):
    """A run that is killed between the two leaves this, by whatever means the key was written."""
    state.mkdir(parents=True)
    key = openssl.make_key()
    (state / "ca.key").write_text(key)
    result = ensured("tunnel_ca", path=str(state))
    assert openssl.public_key_of_certificate(result["certificate"]) == openssl.public_key_of_key(
        key
    )
    assert not ensured("tunnel_ca", path=str(state))["changed"]


def test_a_key_of_another_ca_is_not_overwritten(state, openssl_ca):
    state.mkdir(parents=True)
    key = openssl.make_key()
    (state / "ca.key").write_text(key)
    brought = {"certificate": openssl_ca[0], "private_key": openssl_ca[1]}
    message = refused("tunnel_ca", path=str(state), **brought)
    assert f"{state}/ca.key: belongs to another CA" in message
    assert (state / "ca.key").read_text() == key


@pytest.mark.parametrize("name", ["ca.key", "ca.crt"])
def test_unreadable_files_are_not_overwritten(state, name):
    ensured("tunnel_ca", path=str(state))
    (state / name).write_text("damaged")
    for check in (True, False):
        message = refused("tunnel_ca", check=check, path=str(state))
        assert f"{state}/{name}: exists but cannot be read" in message
    assert (state / name).read_text() == "damaged"
    assert ensured("tunnel_ca", path=str(state), regenerate="always")["changed"]
    assert not ensured("tunnel_ca", path=str(state))["changed"]


def test_a_stored_pair_that_does_not_match(state):
    ensured("tunnel_ca", path=str(state))
    (state / "ca.key").write_text(openssl.make_key())
    assert f"{state}/ca.key: does not belong to" in refused("tunnel_ca", path=str(state))


def test_stored_cas_are_checked_too(state):
    ensured("tunnel_ca", path=str(state))
    key = crypto.load_private_key((state / "ca.key").read_text(), "key")
    long_ago = crypto.utc_now() - timedelta(days=10)
    expired = pki_ca.make_ca(key, "old", timedelta(days=9), long_ago)
    (state / "ca.crt").write_text(crypto.pem_of(expired))
    message = refused("tunnel_ca", path=str(state))
    assert f"{state}/ca.crt: it has expired on" in message
    assert "regenerate: always" in message


def test_a_ca_that_ends_soon_is_announced(state):
    result = ensured("tunnel_ca", path=str(state), duration="30d")
    assert any(result["not_after"] in str(warning) for warning in result["warnings"])


def test_permissions_are_repaired(state):
    ensured("tunnel_ca", path=str(state))
    (state / "ca.key").chmod(0o644)
    state.chmod(0o755)
    assert ensured("tunnel_ca", path=str(state))["changed"]
    assert (mode_of(state / "ca.key"), mode_of(state)) == (0o600, 0o700)
    assert not ensured("tunnel_ca", path=str(state))["changed"]


def test_links_are_not_followed(state, tmp_path):
    state.mkdir(parents=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("precious")
    (state / "ca.key").symlink_to(elsewhere)
    message = refused("tunnel_ca", path=str(state))
    assert "is not a regular file" in message
    assert elsewhere.read_text() == "precious"


def test_bad_options(state, openssl_ca):
    assert "required by 'private_key'" in refused(
        "tunnel_ca", path=str(state), private_key=openssl_ca[1]
    )
    assert "duration: '5y' is not a duration" in refused(
        "tunnel_ca", path=str(state), duration="5y"
    )
    assert "private_key: does not belong" in refused(
        "tunnel_ca", path=str(state), certificate=openssl_ca[0], private_key=openssl.make_key()
    )
    (state.parent.parent / "file").write_text("")
    assert "is not a directory" in refused("tunnel_ca", path=str(state.parent.parent / "file"))
    assert not state.exists()


def test_no_secret_comes_out(state, openssl_ca):
    certificate, key = openssl_ca
    outcomes = [
        run_module("tunnel_ca", check=check, path=str(state / where), **arguments)
        for check in (True, False)
        for where, arguments in (
            ("made", {}),
            ("brought", {"certificate": certificate, "private_key": key}),
            ("wrong", {"certificate": certificate + key}),
            ("wrong", {"certificate": certificate, "private_key": key[:-40]}),
        )
    ]
    keys = [
        key,
        (state / "made" / "ca.key").read_text(),
        (state / "brought" / "ca.key").read_text(),
    ]
    for outcome in outcomes:
        for secret in keys:
            assert body_of(secret) not in outcome.everything


def test_a_missing_library(state):
    result = without_library("cryptography", "tunnel_ca", path=str(state))
    assert result["failed"]
    assert "Python library cryptography: is not installed for the interpreter" in result["msg"]
    assert "38.0.0" in result["msg"]
    assert "python3-cryptography" in result["msg"]


@pytest.mark.parametrize("start", ["nothing", "replace", "replace without key", "bring"])
def test_a_run_killed_anywhere_is_completed(tmp_path, openssl_ca, start):
    runs = []
    arguments = {}
    if start != "nothing":
        arguments["certificate"] = openssl_ca[0]
    if start in ("bring", "replace"):
        arguments["private_key"] = openssl_ca[1]
    if start.startswith("replace"):
        arguments["regenerate"] = "always"

    def state():
        return tmp_path / f"state{len(runs)}"

    def prepare():
        runs.append(None)
        if start.startswith("replace"):
            ensured("tunnel_ca", path=str(state()))

    def attempt():
        assert not run_module("tunnel_ca", path=str(state()), **arguments).failed

    def check(_step):
        live = [state() / "ca.key", state() / "ca.crt"]
        for path in filter(os.path.exists, live):
            # At any moment the file is whole, and nobody else may read it.
            assert path.read_text().endswith("-----\n")
            assert mode_of(path) == 0o600
        for entry in os.scandir(state()) if state().exists() else ():
            assert stat.S_IMODE(entry.stat().st_mode) == 0o600
        # An operator may repeat the run, or have no more reason to ask for a replacement.
        ensured("tunnel_ca", path=str(state()), **arguments)
        again = ensured("tunnel_ca", path=str(state()), certificate=arguments.get("certificate"))
        assert not again["changed"]
        expected = ["ca.crt"] if start == "replace without key" else ["ca.crt", "ca.key"]
        assert sorted(os.listdir(state())) == expected
        if len(expected) == 2:
            assert openssl.public_key_of_certificate(
                live[1].read_text()
            ) == openssl.public_key_of_key(live[0].read_text())

    assert kill_everywhere(prepare, attempt, check) > 8
