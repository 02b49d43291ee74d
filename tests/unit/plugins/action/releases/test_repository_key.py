"""The repository's key as Ansible gets it: from the cache, whose content is checked."""

from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases import openpgp
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.plugin_utils.releases import (
    test_openpgp,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.playbook import run_playbook

FINGERPRINT, KEY = test_openpgp.FINGERPRINT, test_openpgp.KEY
NOWHERE = "https://127.0.0.1:9/key.gpg"  # the discard port, on which nobody listens


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    directory = tmp_path / "cache" / "mcp_tunnels.stack"
    directory.mkdir(mode=0o700, parents=True)
    return directory


def get(tmp_path, fingerprint):
    task = {"mcp_tunnels.stack.repository_key": {"url": NOWHERE, "fingerprint": fingerprint}}
    return run_playbook(tmp_path, [task], {"a": {}})


def test_the_right_key_comes_from_the_cache(tmp_path, cache):
    path = cache / f"key-{FINGERPRINT}.asc"
    path.write_text(openpgp.armor(openpgp.dearmor(KEY)))
    path.chmod(0o600)
    status, output = get(tmp_path, FINGERPRINT.lower())
    assert status == 0, output


@pytest.mark.parametrize("content", [b"", b"hostile", b"\xff", KEY + b"more", KEY[:300]])
def test_another_content_of_that_name_is_not_used(tmp_path, cache, content):
    path = cache / f"key-{FINGERPRINT}.asc"
    path.write_bytes(content)
    path.chmod(0o600)
    status, output = get(tmp_path, FINGERPRINT)
    assert status != 0
    assert NOWHERE in output, "it is asked for again"


def test_the_cache_of_others_is_named_with_the_remedy(tmp_path, cache):
    cache.chmod(0o777)
    status, output = get(tmp_path, FINGERPRINT)
    assert status != 0
    assert "can be written by other users" in output
    assert "XDG_CACHE_HOME" in output
    assert "Do not use this key" not in output


@pytest.mark.parametrize("fingerprint", ["../../x", "", "A" * 39, "A" * 41, "G" * 40])
def test_what_is_no_fingerprint_names_no_file(tmp_path, cache, fingerprint):
    status, output = get(tmp_path, fingerprint)
    assert status != 0
    assert "cloudflared_package_key_fingerprint: is not the fingerprint" in output
    assert list(cache.iterdir()) == []
