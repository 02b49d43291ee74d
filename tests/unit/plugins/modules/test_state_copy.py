"""The modules state_copy and state_restore, as Ansible runs them on a host."""

from __future__ import annotations

import base64

import pyrage
import pytest
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.copies.states import (
    MADE_AT,
    make_files,
    make_pair,
    write_files,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.modules import run_module


@pytest.fixture
def files(openssl_ca):
    """The files of a state directory."""
    return make_files(openssl_ca)


def secrets(files):
    """Return texts that nobody may see, of the state and of base64 of it."""
    key = files["ca.key"].decode().splitlines()[1]
    plain = [files["tunnel-token"].decode(), key]
    return [*plain, *(base64.b64encode(text.encode())[4:60].decode() for text in plain)]


def test_a_copy_that_only_its_recipient_can_open(tmp_path, files):
    recipient, identity = make_pair()
    path = write_files(tmp_path / "default", files)
    given = {"path": str(path), "instance": "default", "recipients": [recipient]}
    made = {"made_at": MADE_AT, "made_by": "9.8.7"}
    done = run_module("state_copy", **given, **made)
    assert not done.failed, done.result
    assert not done.changed
    for secret in secrets(files):
        assert secret not in done.everything
    keys = [pyrage.x25519.Identity.from_str(identity)]
    assert files["ca.key"] in pyrage.decrypt(done.result["content"].encode(), keys)
    again = run_module("state_copy", **given, **made, unless=done.result["state"])
    assert again.result["content"] == ""
    assert run_module("state_copy", check=True, **given, **made).result["content"] == ""
    assert sorted(each.name for each in path.iterdir()) == sorted(files)


@pytest.mark.parametrize("recipients", [[], ["age1x"]])
def test_nothing_is_encrypted_for_nobody(tmp_path, files, recipients):
    path = write_files(tmp_path / "default", files)
    done = run_module("state_copy", path=str(path), instance="default", recipients=recipients)
    assert done.failed
    assert "mcp_tunnel_backup_recipients" in done.message


def test_no_state(tmp_path):
    recipients = [make_pair()[0]]
    path = str(tmp_path / "none")
    done = run_module("state_copy", path=path, instance="default", recipients=recipients)
    assert done.failed
    assert "so there is no state to copy" in done.message


def test_a_state_is_put_back_and_not_shown(tmp_path, files):
    given = {name: base64.b64encode(content).decode() for name, content in files.items()}
    path = tmp_path / "default"
    asked = {"path": str(path), "instance": "default", "made_at": MADE_AT, "files": given}
    would = run_module("state_restore", check=True, **asked)
    assert would.changed
    assert not path.exists()
    done = run_module("state_restore", **asked)
    assert done.changed
    assert {each.name: each.read_bytes() for each in path.iterdir()} == files
    again = run_module("state_restore", **asked)
    assert not again.changed
    (path / "tunnel-token").write_text("x")
    refused = run_module("state_restore", **asked)
    assert refused.failed
    for each in (would, done, again, refused):
        for secret in secrets(files):
            assert secret not in each.everything
