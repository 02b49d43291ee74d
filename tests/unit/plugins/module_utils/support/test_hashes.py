"""SHA-256 of files: of a host that may have anything there."""

from __future__ import annotations

import hashlib
import os

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.support import hashes

MANY = 1 << 20


@pytest.fixture
def folder(tmp_path):
    """A directory with a program in it."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "program").write_bytes(b"a program")
    return tmp_path


def test_each_file_has_a_line(folder):
    (folder / "a").symlink_to("/nowhere")
    (folder / "to bin").symlink_to("bin")
    first, second, third = hashes.lines(10, MANY, [str(folder)])
    assert first.startswith("-" * 64 + " lrwxrwxrwx ")
    assert first.endswith(f" '{folder}/a' -> '/nowhere'")
    assert second.endswith(f" '{folder}/to bin' -> 'bin'")
    assert third.startswith(hashlib.sha256(b"a program").hexdigest() + " -rw")
    assert third.endswith(f"Z '{folder}/bin/program'")


def test_a_file_by_itself_and_one_that_is_not_there(folder):
    (found, missing) = hashes.lines(
        10, MANY, [str(folder / "bin" / "program"), str(folder / "none")]
    )
    assert found.startswith(hashlib.sha256(b"a program").hexdigest())
    assert missing.endswith(": No such file or directory")


def test_a_pipe_and_a_strange_name_hold_nothing_up(folder):
    os.mkfifo(folder / "pipe")
    (folder / "a\nb").write_text("")
    lines = hashes.lines(10, MANY, [str(folder)])
    assert len(lines) == 3
    assert lines[0].endswith("/a\\nb'")
    assert lines[1].startswith("-" * 64 + " prw")


def test_it_is_cut(folder):
    assert hashes.lines(10, 20, [str(folder)]) == ["... cut here"]
    assert hashes.lines(-1, MANY, [str(folder)]) == ["... cut here"]


def test_no_secret_is_among_them():
    secret = ("/etc/mcp-tunnel/", "/var/lib/mcp-tunnel", "/run/", "/root", "/etc/shadow")
    assert not [path for path in hashes.DIRECTORIES if f"{path}/".startswith(secret)]
