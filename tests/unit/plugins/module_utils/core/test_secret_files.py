from __future__ import annotations

import errno
import os
import stat
import types

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import errors
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.secret_files import (
    Attributes,
    ensure_private_directory,
    write_file,
)


@pytest.fixture
def lockstep(monkeypatch):
    """Let another run make anything just before we make a directory."""
    make = os.mkdir

    def install(path, other):
        def mkdir(name, mode=0o777, **options):
            if str(name) == str(path) and not os.path.lexists(path):
                other(make)
            make(name, mode, **options)

        monkeypatch.setattr(os, "mkdir", mkdir)

    return install


@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_a_directory_that_another_run_makes_meanwhile(tmp_path, lockstep, mode):
    path = tmp_path / "state" / "default"
    lockstep(path, lambda make: make(path, mode))
    # The other run made the directory as it should be, so we have changed nothing.
    assert ensure_private_directory(str(path), check_mode=False) == (mode != 0o700)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_what_is_no_directory_is_refused_also_when_it_comes_meanwhile(tmp_path, lockstep):
    path = tmp_path / "default"
    (tmp_path / "elsewhere").mkdir(0o755)
    lockstep(path, lambda _make: path.symlink_to(tmp_path / "elsewhere"))
    with pytest.raises(TunnelError, match="is not a directory"):
        ensure_private_directory(str(path), check_mode=False)
    assert stat.S_IMODE((tmp_path / "elsewhere").stat().st_mode) == 0o755


class Failed(Exception):
    """A module's last message."""


def fail_json(msg):
    raise Failed(msg)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_file_system_is_told_with_the_file_and_needs_no_other_user(
    tmp_path, monkeypatch, number
):
    """The system names no file when it refuses a write into an open one."""
    path = tmp_path / "proxy.yaml"
    path.write_text("before")

    def refuse(_descriptor, _mode):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fchmod", refuse)
    monkeypatch.setattr(os, "umask", lambda _mask: 0o022)
    module = types.SimpleNamespace(params={}, no_log_values=set(), fail_json=fail_json)
    attributes = Attributes(os.geteuid(), os.getegid(), 0o600)
    with pytest.raises(Failed) as failed:
        errors.run(module, lambda: write_file(str(path), b"after", attributes))
    message = str(failed.value)
    assert message.startswith(f"{path}: {os.strerror(number)}. Make room")
    assert "become" not in message
    assert path.read_text() == "before"
