"""What module replica does besides the services: who may ask a host for certificates."""

from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import timer_state
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision.lease import Lease
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision.signatories import (
    Signatories,
)
from ansible_collections.mcp_tunnels.stack.plugins.modules import replica
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.locks import while_locked
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.modules import ensured

# A key for each instance: a key belongs to one replica of one instance.
KEYS = {
    instance: f"ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBB{point}="
    for instance, point in (("default", "A" * 86), ("other", "B" * 86))
}
ACTION = "nobody may ask mcp-tunnel-signing-default.socket over SSH any more"


@pytest.fixture
def lines(tmp_path, monkeypatch):
    """The file of the signer's account, with a replica of each of two instances."""
    path = tmp_path / "home" / ".ssh" / "authorized_keys"
    monkeypatch.setattr(replica, "Lease", lambda name: Lease(name, tmp_path / "leases"))
    monkeypatch.setattr(replica, "Signatories", lambda name: Signatories(name, str(path)))
    for verb in ("apply", "remove"):
        nothing = {"changed": False, "actions": []}
        monkeypatch.setattr(replica.replica_state, verb, lambda *given, done=nothing, **more: done)
    monkeypatch.setattr(timer_state, "ensure", lambda *given, **more: [])
    for instance, key in KEYS.items():
        Signatories(instance, str(path)).ensure({"b": key}, "b", check_mode=False)
    return lambda: [line.split()[2] for line in path.read_text().splitlines()]


def timer(wanted, signs):
    return {
        "name": "mcp-tunnel-renew-cert@default",
        "socket": "mcp-tunnel-signing-default.socket",
        "wanted": wanted,
        "signs": signs,
    }


@pytest.mark.parametrize(
    ("state", "wanted", "signs", "left"),
    [
        ("applied", True, True, ["default", "other"]),
        # Another host is the state host now.
        ("applied", True, False, ["other"]),
        ("applied", False, False, ["other"]),
        ("absent", False, False, ["other"]),
    ],
)
def test_only_a_state_host_keeps_who_may_ask(lines, state, wanted, signs, left):
    given = {"instance": "default", "state": state, "services": []}
    done = ensured("replica", **given, timer=timer(wanted, signs))
    assert lines() == left
    assert (ACTION in done["actions"]) == (left == ["other"])
    again = ensured("replica", **given, timer=timer(wanted, signs))
    assert not again["changed"]


def test_the_lines_of_another_instance_are_not_lost(lines, tmp_path, monkeypatch):
    """It may be deployed at the same time, and all lines are in one file."""
    locked = while_locked(monkeypatch, Signatories, "_write", tmp_path / "leases")
    given = {"instance": "default", "state": "absent", "services": []}
    done = ensured("replica", **given, timer=timer(False, False))
    assert ACTION in done["actions"]
    assert locked == [True]
    assert not (tmp_path / "leases").exists()
