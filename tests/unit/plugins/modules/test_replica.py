"""What module replica does besides the services: who may ask for certificates, who is back."""

from __future__ import annotations

import functools

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import systemd, timer_state
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision.lease import Lease
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision.signatories import (
    Signatories,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica import drain
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
        nothing = {"changed": False, "actions": [], "proven": True}
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


@pytest.fixture
def mark(tmp_path, monkeypatch):
    """A replica whose drain was ended, and that was deployed and proven before that."""
    (tmp_path / "default").mkdir()
    mark = drain.Mark("default", tmp_path)
    mark.write(drain.Drain("2026-11-29T04:50:00Z"))
    monkeypatch.setattr(drain, "Mark", functools.partial(drain.Mark, directory=tmp_path))
    proven = {"changed": False, "actions": [], "proven": True}
    monkeypatch.setattr(replica.replica_state, "apply", lambda *_given, **_more: proven)
    remembered = {"changed": False, "removed_releases": []}
    monkeypatch.setattr(replica.replica_state, "remember", lambda *_given: remembered)
    return mark


def ask(state, check_mode=False, joins_last=False):
    asked = {"instance": "default", "state": state, "services": [], "pending_paths": []}
    asked |= {"admin_port": None, "joins_last": joins_last}
    return replica.ensure_state({**asked, "timer": None}, check_mode)


def test_one_that_comes_back_is_proven_once_it_is_remembered_as_good(mark):
    assert ask("applied")["proven"] is True, "drained, it has to prove nothing at the edge"
    mark.lift()
    assert ask("applied")["proven"] is False
    ask("good", check_mode=True)
    assert mark.returning() is not None
    ask("good")
    assert mark.returning() is None
    assert ask("applied")["proven"] is True


class Newcomer:
    """A replica that was never proven; ``away`` is the reason why each unit was not to start."""

    def __init__(self, directory, monkeypatch):
        (directory / "default").mkdir()
        self.mark = drain.Mark("default", directory)
        self.records = replica.replica_records.Records("default", directory / "records")
        self.active = "inactive"
        self.away = None
        monkeypatch.setattr(drain, "Mark", lambda _instance: self.mark)
        monkeypatch.setattr(replica.replica_records, "Records", lambda _instance: self.records)
        monkeypatch.setattr(systemd, "show", self.show)
        monkeypatch.setattr(replica.replica_state, "apply", self.apply)

    def show(self, names):
        return [systemd.Unit(name, self.active, "", True, False, True, 0) for name in names]

    def apply(self, *_given, away, unproven):
        self.away, self.unproven = away, unproven
        return {"changed": True, "actions": [], "proven": False}


@pytest.fixture
def newcomer(tmp_path, monkeypatch):
    """A replica that was never proven, and whose cloudflared does not run."""
    return Newcomer(tmp_path, monkeypatch)


def test_a_replica_that_was_never_proven_waits_before_it_joins_the_edge(newcomer):
    assert ask("applied", joins_last=True)["waits"] is True
    assert list(newcomer.away) == ["mcp-cloudflared@default.service"]
    assert list(newcomer.unproven) == ["mcp-cloudflared@default.service"]
    assert ask("applied")["waits"] is False
    assert newcomer.away == {}
    assert not newcomer.unproven


def test_check_mode_shows_that_it_would_join(newcomer):
    assert ask("applied", check_mode=True, joins_last=True)["waits"] is False
    assert newcomer.away == {}


@pytest.mark.parametrize("active", ["active", "activating"])
def test_a_replica_that_is_at_the_edge_stays_there(newcomer, active):
    """A run was killed before it remembered that the replica works."""
    newcomer.active = active
    assert ask("applied", joins_last=True)["waits"] is False
    assert newcomer.away == {}


def test_a_replica_that_was_proven_before_does_not_wait(newcomer):
    newcomer.records.store("good", {"mcp-proxy@default.service": {}})
    assert ask("applied", joins_last=True)["waits"] is False
    assert newcomer.away == {}


def test_a_drained_replica_that_was_never_proven_does_not_wait(newcomer):
    newcomer.mark.write(drain.Drain("2026-11-29T04:50:00Z"))
    assert ask("applied", joins_last=True)["waits"] is False
    assert list(newcomer.away.values()) == ["drained since 2026-11-29T04:50:00Z"]
    assert not newcomer.unproven
