"""Module support: instances of one host share the directory in which their archives wait."""

from __future__ import annotations

import os

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision.lease import Lease
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.support import (
    archive,
    secrets,
    transfer,
)
from ansible_collections.mcp_tunnels.stack.plugins.modules import support
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.locks import while_locked


@pytest.fixture
def leases(tmp_path, monkeypatch):
    """The directory of the lock. Archives are made of nothing."""
    monkeypatch.setattr(transfer, "DIRECTORY", str(tmp_path / "waiting"))
    monkeypatch.setattr(support, "Lease", lambda name: Lease(name, tmp_path / "leases"))
    made = archive.make([], [], secrets.Known())
    monkeypatch.setattr(archive, "make", lambda _instances: made)
    return tmp_path / "leases"


def test_an_instance_that_was_removed_is_asked_for_what_is_left(leases, monkeypatch):
    """As evidence; else the name is taken for a mistake."""
    asked, made = [], archive.make([])
    monkeypatch.setattr(archive, "make", lambda instances: asked.append(instances) or made)
    with pytest.raises(TunnelError, match="is not on this host"):
        support.make("default")
    with pytest.raises(TunnelError, match="instance"):
        support.make("../x", removed=True)
    assert support.make("default", removed=True)["changed"]
    assert asked == [["default"]]


def test_an_archive_of_another_instance_stays(leases, monkeypatch):
    """One instance must not remove the directory while another one is about to write there."""
    monkeypatch.setattr(support, "check_deployed", lambda name: name)
    written = while_locked(monkeypatch, support.secret_files, "write_file", leases)
    removed = while_locked(monkeypatch, os, "listdir", leases)
    for name in ("a", "b"):
        support.make(name)
    assert support.remove("a")["changed"]
    assert os.path.exists(transfer.path("b"))
    assert support.remove("b")["changed"]
    assert not os.path.exists(transfer.DIRECTORY)
    assert (written, removed[-2:]) == ([True] * 2, [True] * 2)
    assert not support.remove("b")["changed"]
