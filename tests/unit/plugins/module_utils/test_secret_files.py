from __future__ import annotations

import os
import stat

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.secret_files import (
    settle_private_directory,
)


@pytest.fixture
def lockstep(monkeypatch):
    """Lets another run make what it likes just before we make a directory."""
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
    # What the other one has made as it should be is no change of ours.
    assert settle_private_directory(str(path), check_mode=False) == (mode != 0o700)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_what_is_no_directory_is_refused_also_when_it_comes_meanwhile(tmp_path, lockstep):
    path = tmp_path / "default"
    (tmp_path / "elsewhere").mkdir(0o755)
    lockstep(path, lambda _make: path.symlink_to(tmp_path / "elsewhere"))
    with pytest.raises(TunnelError, match="is not a directory"):
        settle_private_directory(str(path), check_mode=False)
    assert stat.S_IMODE((tmp_path / "elsewhere").stat().st_mode) == 0o755
