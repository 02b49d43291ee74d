"""A look at a machine before its reboot: who would be cut off, and what an earlier run has left."""

from __future__ import annotations

import functools

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica import deployed, drain
from ansible_collections.mcp_tunnels.stack.plugins.modules import reboot

BY = drain.Drain("2026-11-29T04:50:00Z", purpose="reboot")


@pytest.fixture
def look(tmp_path, monkeypatch):
    """Look at a machine with the instances blue and default: the result."""
    for name in ("blue", "default"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(drain, "Mark", functools.partial(drain.Mark, directory=tmp_path))
    monkeypatch.setattr(
        deployed, "in_service", functools.partial(deployed.in_service, root=tmp_path)
    )
    asked = {"state": "looked", "needed": False, "instance": "blue"}
    return lambda: reboot.ensure_state(asked, check_mode=False)


def test_all_instances_of_the_machine_that_are_not_drained(look):
    assert look()["in_service"] == ["blue", "default"]
    drain.Mark("blue").write(BY)
    assert look()["in_service"] == ["default"]
    drain.Mark("blue").lift()
    assert look()["in_service"] == ["blue", "default"]


def test_a_reboot_that_was_interrupted_while_its_replica_came_back(look):
    assert look()["interrupted"] is False
    drain.Mark("blue").write(BY)
    assert look()["interrupted"] is True
    drain.Mark("blue").lift()
    assert look()["interrupted"] is True
    drain.Mark("blue").settle()
    assert look()["interrupted"] is False
