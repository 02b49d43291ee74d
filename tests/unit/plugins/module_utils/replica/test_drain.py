"""The mark of a drained replica, and the two ways that it changes; systemd obeys or refuses."""

from __future__ import annotations

import json
import os

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import systemd
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica import drain

UNIT = "mcp-cloudflared@blue.service"
BY = {"by": "root on controller", "why": "new memory"}


class Systemd:
    """One unit, with the text of its file."""

    def __init__(self, directory):
        self.active = "active"
        self.loaded = True
        self.text = f"[Unit]\nConditionPathExists=!{directory}/%i/drained\n"
        self.verbs = []
        self.killed = False

    def show(self, names):
        assert names == [UNIT]
        return [systemd.Unit(UNIT, self.active, "", True, False, self.loaded, 0)]

    def enforce(self, verb, *units):
        self.systemctl(verb, *units)
        return self.killed

    def systemctl(self, verb, *units):
        if verb == "cat":
            return self.text
        if self.killed and verb == "start":
            raise TunnelError(UNIT, "systemctl start failed", "Look")
        self.verbs.append(verb)
        self.active = {"stop": "inactive", "start": "active"}.get(verb, self.active)
        return ""


@pytest.fixture
def fake(monkeypatch, tmp_path):
    fake = Systemd(tmp_path)
    for name in ("show", "enforce", "systemctl"):
        monkeypatch.setattr(systemd, name, getattr(fake, name))
    return fake


@pytest.fixture
def mark(tmp_path, fake):
    (tmp_path / "blue").mkdir()
    return drain.Mark("blue", tmp_path)


def wanted(since="2026-11-29T04:50:00Z", purpose="drain"):
    return drain.Drain(since, purpose=purpose, **BY)


def test_a_drain_and_the_end_of_it(mark, fake):
    first = drain.drain(mark, wanted(), check_mode=False)
    assert first["actions"] == [f"{mark.path} written", f"{UNIT} stopped"]
    assert first["drained"] == {"since": "2026-11-29T04:50:00Z", "purpose": "drain", **BY}
    assert str(mark.read()) == (
        "drained since 2026-11-29T04:50:00Z by root on controller: new memory"
    )
    assert drain.drain(mark, wanted("2027-01-01T00:00:00Z"), check_mode=False) == {
        "changed": False,
        "actions": [],
        "drained": first["drained"],
        "ended": False,
    }
    back = drain.undrain(mark, check_mode=False)
    assert back["actions"] == [f"{mark.path} removed", f"{UNIT} started"]
    assert (back["drained"], back["ended"]) == ({}, True)
    assert (mark.read(), mark.returning()) == (None, drain.Drain(**first["drained"]))
    # Until it is proven, the next run has to do that.
    again = drain.undrain(mark, check_mode=False)
    assert (again["changed"], again["ended"]) == (False, True)
    mark.settle()
    assert drain.undrain(mark, check_mode=False)["ended"] is False
    assert fake.verbs == ["stop", "start"]


def test_the_mark_is_there_before_the_service_stops(mark, fake, monkeypatch):
    def dies(verb, *_units):
        assert mark.read() is not None
        raise KeyboardInterrupt(verb)

    monkeypatch.setattr(systemd, "enforce", dies)
    with pytest.raises(KeyboardInterrupt):
        drain.drain(mark, wanted(), check_mode=False)
    monkeypatch.setattr(systemd, "enforce", fake.enforce)
    assert drain.drain(mark, wanted(), check_mode=False)["actions"] == [f"{UNIT} stopped"]


@pytest.mark.parametrize("active", ["inactive", "failed", "active"])
def test_a_replica_that_nobody_has_drained_stays_as_it_is(mark, fake, active):
    """Somebody may have stopped it for a good reason."""
    fake.active = active
    for change in (drain.undrain, drain.restore):
        found = change(mark, check_mode=False)
        assert found == {"changed": False, "actions": [], "drained": {}, "ended": False}
    assert (fake.active, fake.verbs) == (active, [])


def test_an_end_that_was_interrupted_is_completed(mark, fake, monkeypatch):
    """The mark is gone, and cloudflared has not started."""
    drain.drain(mark, wanted(purpose="reboot"), check_mode=False)

    def dies(verb, *units):
        if verb == "start":
            raise KeyboardInterrupt(verb)
        return fake.systemctl(verb, *units)

    monkeypatch.setattr(systemd, "systemctl", dies)
    with pytest.raises(KeyboardInterrupt):
        drain.undrain(mark, check_mode=False)
    assert (mark.read(), mark.returning()) == (None, wanted(purpose="reboot"))
    monkeypatch.setattr(systemd, "systemctl", fake.systemctl)
    assert drain.undrain(mark, check_mode=True)["actions"] == [f"{UNIT} started"]
    completed = drain.undrain(mark, check_mode=False)
    assert (completed["actions"], completed["ended"]) == ([f"{UNIT} started"], True)


def test_one_that_does_not_prove_itself_gets_the_same_mark_again(mark, fake):
    drain.drain(mark, wanted(), check_mode=False)
    drain.undrain(mark, check_mode=False)
    told = drain.restore(mark, check_mode=True)
    assert (mark.read(), fake.active) == (None, "active")
    assert told["actions"] == [f"{mark.path} put back", f"{UNIT} stopped"]
    assert drain.restore(mark, check_mode=False) == told
    assert (mark.read(), mark.returning(), fake.active) == (wanted(), None, "inactive")
    again = drain.restore(mark, check_mode=False)
    assert (again["changed"], again["drained"]) == (False, told["drained"])


def test_a_drain_later_on_is_a_new_one(mark):
    """An undrain was killed before its proof, and nobody has noticed for weeks."""
    drain.drain(mark, wanted(), check_mode=False)
    drain.undrain(mark, check_mode=False)
    later = wanted("2027-01-01T00:00:00Z")
    drain.drain(mark, later, check_mode=False)
    assert (mark.read(), mark.returning()) == (later, None)
    drain.undrain(mark, check_mode=False)
    assert mark.returning() == later


def test_a_reboot_does_not_complete_the_undrain_of_an_operator(mark, fake):
    drain.drain(mark, wanted(), check_mode=False)
    mark.lift()
    assert drain.undrain(mark, check_mode=False, purpose="reboot")["ended"] is False
    assert fake.verbs == ["stop"]


@pytest.mark.parametrize("active", ["activating", "deactivating", "reloading"])
def test_a_service_that_is_on_its_way_is_stopped(mark, fake, active):
    fake.active = active
    assert drain.drain(mark, wanted(), check_mode=False)["actions"][1:] == [f"{UNIT} stopped"]
    assert fake.verbs == ["stop"]


@pytest.mark.parametrize("letter", ["x", "\u0436", "\U0001f9f0"])
def test_the_longest_reason_is_read_as_it_was_written(mark, letter):
    told = drain.Drain("2026-11-29T04:50:00Z", by=letter * 120, why=letter * 255, purpose="reboot")
    drain.drain(mark, told, check_mode=False)
    assert mark.read() == told


def test_check_mode_tells_and_does_nothing(mark, fake):
    assert drain.drain(mark, wanted(), check_mode=True)["changed"] is True
    assert (mark.read(), fake.verbs) == (None, [])
    drain.drain(mark, wanted(), check_mode=False)
    assert drain.undrain(mark, check_mode=True)["changed"] is True
    assert mark.read() is not None
    assert fake.verbs == ["stop"]


def test_a_reboot_does_not_end_the_drain_of_an_operator(mark):
    drain.drain(mark, wanted(), check_mode=False)
    again = drain.drain(mark, wanted("2027-01-01T00:00:00Z", "reboot"), check_mode=False)
    assert again["drained"]["purpose"] == "drain"
    kept = drain.undrain(mark, check_mode=False, purpose="reboot")
    assert (kept["changed"], kept["drained"]["purpose"]) == (False, "drain")
    assert mark.read() is not None


def test_an_operator_takes_over_the_drain_of_a_reboot(mark):
    drain.drain(mark, wanted(purpose="reboot"), check_mode=False)
    drain.drain(mark, wanted(), check_mode=False)
    assert mark.read().purpose == "drain"


def test_a_reboot_ends_its_own(mark, fake):
    drain.drain(mark, wanted(purpose="reboot"), check_mode=False)
    assert drain.undrain(mark, check_mode=False, purpose="reboot")["drained"] == {}
    assert fake.active == "active"


@pytest.mark.parametrize(
    "content",
    [
        *("", "no JSON", "[]", "{}", '{"since": 1}', "[" * 100_000),
        json.dumps(dict.fromkeys(("since", "by"), "x")),
        json.dumps({"since": "x", "by": "", "why": "", "purpose": "fun"}),
    ],
)
def test_a_mark_made_by_hand_counts(mark, tmp_path, content):
    path = tmp_path / "blue/drained"
    path.write_text(content)
    os.utime(path, (1_795_928_400, 1_795_928_400))
    assert str(mark.read()) == "drained since 2026-11-29T05:00:00Z"
    assert drain.away(mark) == {UNIT: "drained since 2026-11-29T05:00:00Z"}


def test_the_mark_is_for_everybody_to_read(mark):
    drain.drain(mark, wanted(), check_mode=False)
    assert os.stat(mark.path).st_mode & 0o777 == 0o644


def test_a_unit_of_an_earlier_release_is_refused_before_anything_changes(mark, fake):
    fake.text = "[Unit]\n"
    with pytest.raises(TunnelError, match="does not know of drained replicas"):
        drain.drain(mark, wanted(), check_mode=False)
    assert (mark.read(), fake.verbs) == (None, [])


def test_a_host_without_the_instance_is_refused(mark, fake):
    fake.loaded = False
    with pytest.raises(TunnelError, match="was not deployed on this host"):
        drain.drain(mark, wanted(), check_mode=False)
    assert mark.read() is None


def test_a_service_that_does_not_end_is_told(mark, fake):
    fake.killed = True
    assert drain.drain(mark, wanted(), check_mode=False)["actions"][-1] == (
        f"{UNIT} killed: it did not end in time"
    )


def test_a_service_that_failed_starts_again(mark, fake):
    drain.drain(mark, wanted(), check_mode=False)
    fake.active = "failed"
    drain.undrain(mark, check_mode=False)
    assert fake.verbs == ["stop", "reset-failed", "start"]
