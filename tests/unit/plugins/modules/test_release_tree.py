from __future__ import annotations

import io
import os
import tarfile

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica import releases
from ansible_collections.mcp_tunnels.stack.plugins.modules import release_tree
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.modules import ensured


@pytest.fixture
def root(tmp_path, monkeypatch):
    """The directory of releases, on a host whose sudoers gives root the umask 077."""
    root = tmp_path / "opt"
    monkeypatch.setattr(
        release_tree, "Releases", lambda part: releases.Releases(part, root), raising=True
    )
    before = os.umask(0o077)
    yield root
    os.umask(before)


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "release.tar.gz"
    with tarfile.open(path, "w:gz") as packed:
        for name in ("bin/tool", "lib/package/module.py"):
            member = tarfile.TarInfo(name)
            member.size, member.mode = 1, 0o644
            packed.addfile(member, io.BytesIO(b"\n"))
    return str(path)


def modes(root):
    return {path.stat().st_mode & 0o777 for path in [root, *root.rglob("*")]}


def test_services_can_read_a_release_whatever_roots_umask_is(root, archive):
    assert ensured("release_tree", part="proxy", version="1", archive=archive)["present"]
    assert modes(root) == {0o755, 0o644}
    assert not ensured("release_tree", part="proxy", version="1")["changed"]


def test_a_run_repairs_what_an_earlier_one_left_closed(root, archive):
    ensured("release_tree", part="proxy", version="1", archive=archive)
    for path in (root, root / "proxy" / "1", root / "proxy" / "1" / "lib"):
        path.chmod(0o700)
    result = ensured("release_tree", part="proxy", version="1")
    assert result["changed"]
    assert result["present"]
    assert modes(root) == {0o755, 0o644}
