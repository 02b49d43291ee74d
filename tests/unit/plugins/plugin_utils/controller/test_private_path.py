"""Files of others are used only where nobody can change them."""

from __future__ import annotations

import os

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller import private_path


def refuse(found, problem):
    return TunnelError(str(found), problem, "x")


def test_links_are_followed_to_the_real_path(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert private_path.check_unchangeable(tmp_path / "link", refuse) == tmp_path / "real"


def test_nothing_is_made(tmp_path):
    with pytest.raises(FileNotFoundError):
        private_path.check_unchangeable(tmp_path / "a/b", refuse)
    assert list(tmp_path.iterdir()) == []


def test_what_others_own_or_write_counts_on_a_read_only_file_system(tmp_path, monkeypatch):
    """An image, or a read-only mount, may say anything about owners."""
    (tmp_path / "bundle").mkdir()
    os.chown(tmp_path / "bundle", 12345, 12345)
    (tmp_path / "bundle").chmod(0o777)
    with pytest.raises(TunnelError, match="belongs to the user with ID 12345"):
        private_path.check_unchangeable(tmp_path / "bundle", refuse)
    found = os.statvfs("/")

    class ReadOnly:
        f_flag = found.f_flag | os.ST_RDONLY

    monkeypatch.setattr(os, "statvfs", lambda path: ReadOnly if "bundle" in str(path) else found)
    private_path.check_unchangeable(tmp_path / "bundle", refuse)


def test_a_link_of_others_into_a_read_only_file_system_is_refused(tmp_path):
    (tmp_path / "link").symlink_to("/proc/sys/kernel/ostype")
    os.lchown(tmp_path / "link", 12345, 12345)
    with pytest.raises(TunnelError, match="link: belongs to the user with ID 12345"):
        private_path.check_unchangeable(tmp_path / "link", refuse)
