"""The marks of hosts that were broken into, and what a run on the state host learns of them."""

from __future__ import annotations

import hashlib
import json
import ssl
from pathlib import Path
from types import MappingProxyType

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import at_rest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.state_files import StateFile
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host_check import membership
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision import (
    breaches,
    members,
    state_host,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision.lease import Lease, Run
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision.signatories import (
    Signatories,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import simulated_hosts
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.fakes import stand_in_creds

RUN = Run(id="1" * 16, owner="root on a, process 1", controller="a" * 16, process="1:1")
A, B, ANEW = "0123456789abcdef", "fedcba9876543210", "1111111111111111"
SUBJECT = "replicas.json"
NOW = "2026-11-29T20:00:00Z"
MARK = {"machine": B, "since": NOW, "ca": "", "token": "", "evidence": ""}
FORMER, PRESENT, ANOTHER = map(ssl.DER_cert_to_PEM_cert, (b"former", b"present", b"another"))


class World:
    """A state host with the replicas a and b on its list."""

    def __init__(self, directory):
        self.state = directory / "default"
        self.keys = directory / "home" / ".ssh" / "authorized_keys"
        self.signatories = Signatories("default", str(self.keys))
        self.lease = Lease("default", directory / "leases", 1000.0)
        self.hold(note=True)
        self.signatories.ensure(
            {"a": simulated_hosts.SSH_KEY.replace("AAA=", "AAB="), "b": simulated_hosts.SSH_KEY},
            ("a", "b"),
            check_mode=False,
        )
        self.has_ca(FORMER)
        self.has_token("stolen")

    def has_token(self, value):
        (self.state / "tunnel-token").write_text(value)

    def has_ca(self, content, previous=None):
        (self.state / "ca.crt").write_text(content)
        (self.state / "ca-previous.crt").unlink(missing_ok=True)
        if previous:
            (self.state / "ca-previous.crt").write_text(previous)

    def hold(self, check_mode=False, breached=MappingProxyType({}), **changes):
        ca = {name: changes.pop(name, "") for name in ("given", "trusted")}
        options = {
            "path": str(self.state),
            "run": RUN,
            "seconds": 900,
            "instead_of": "",
            "replicas": {"a": A, "b": B},
            "inventory": ("a", "b"),
            "forget": (),
            "domain": "",
            "needs_all": False,
            "needs_list": False,
            "note": False,
            "token": None,
            **changes,
        }
        named = state_host.Breached(dict(breached), self.signatories, **ca)
        request = state_host.Request(**options, breached=named)
        return state_host.hold(request, self.lease, check_mode)

    def mark(self, name="b", **changes):
        left = {"replicas": {}, "inventory": ("a",), "note": True, **changes}
        return self.hold(breached={name: breaches.Found()}, **left)

    def has_mark(self, **changes):
        content = self.list()
        content["breached"]["b"].update(changes)
        (self.state / "replicas.json").write_text(json.dumps(content, indent=1) + "\n")

    def assert_taken_out(self):
        assert list(self.list()["replicas"]) == ["a"]
        assert list(self.list()["breached"]) == ["b"]
        assert "--member b" not in self.keys.read_text()
        assert self.lease.holder() == {}, "a refusal leaves nothing to wait for"

    def list(self):
        return json.loads((self.state / "replicas.json").read_text())


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_a_marked_host_is_no_member_and_asks_for_no_certificate(world):
    before = world.keys.read_text()
    found = world.mark(needs_all=True)
    assert found["changed"] is True
    assert found["breach"]["due"] == ["ca", "token"]
    assert list(world.list()["replicas"]) == ["a"]
    assert world.list()["breached"]["b"]["machine"] == B, "as it was known before"
    assert "--member b" in before
    assert "--member b" not in world.keys.read_text()
    assert "--member a" in world.keys.read_text()


def test_a_second_run_keeps_the_time_of_the_first(world):
    world.mark()
    since = world.list()["breached"]["b"]["since"]
    content = world.list()
    content["breached"]["b"]["since"] = NOW
    (world.state / "replicas.json").write_text(json.dumps(content, indent=1) + "\n")
    again = world.mark()
    assert (again["changed"], world.list()["breached"]["b"]["since"]) == (False, NOW)
    assert since != NOW


def test_check_mode_marks_nobody_and_says_that_something_is_due(world):
    found = world.mark(check_mode=True)
    assert (found["changed"], found["breach"]["due"]) == (True, ["ca", "token"])
    assert "breached" not in world.list()
    assert "--member b" in world.keys.read_text()


def test_a_lost_state_host_leaves_its_mark_on_the_new_one(world, tmp_path):
    """The new one has neither list nor CA, and takes the present token, which is the stolen one."""
    world.state = tmp_path / "new" / "default"
    world.state.parent.mkdir()
    assert world.mark()["breach"]["due"] == ["ca", "token"]
    assert world.list()["breached"]["b"]["machine"] == ""
    world.has_ca(PRESENT, FORMER)
    assert world.mark()["breach"]["due"] == ["ca", "token"]
    world.has_ca(PRESENT)
    world.has_token("stolen")
    assert world.mark()["breach"]["due"] == ["token"]
    world.has_token("new")
    for _ in range(2):
        assert world.mark()["breach"]["due"] == []


def test_it_is_done_when_another_ca_has_taken_the_place_alone(world):
    world.mark()
    world.has_token("new")
    world.has_ca(PRESENT, FORMER)
    assert world.mark()["breach"]["due"] == ["ca"], "the old one is still registered"
    world.has_ca(PRESENT)
    assert world.mark()["breach"]["due"] == []


def test_a_rotation_of_the_ca_alone_leaves_the_token_due(world):
    """The run was killed before the token, and rotate_ca.yml has completed what it had begun."""
    world.mark()
    world.has_ca(PRESENT)
    assert world.mark()["breach"]["due"] == ["token"]
    assert "stolen" not in (world.state / "replicas.json").read_text()
    world.has_token("new")
    assert world.mark()["breach"]["due"] == []


def test_the_token_that_a_rotation_replaces_is_named(world):
    """Its version is of this, not of a time: a clock that was ahead once would name an old one."""
    assert world.hold()["breach"]["token"] == ""
    for value in ("stolen", "stolen again"):
        world.has_token(value)
        digest = hashlib.sha256(value.encode()).hexdigest()
        assert world.mark()["breach"]["token"] == digest


def test_a_token_that_cannot_be_read_hinders_no_mark(world, monkeypatch, tmp_path):
    """The state was put back on another machine, say, as it was on the disk."""
    stand_in_creds.install(monkeypatch, tmp_path / "one")
    encrypted = StateFile(str(world.state), "tunnel-token", at_rest.HOST)
    encrypted.write("stolen")
    stand_in_creds.install(monkeypatch, tmp_path / "other", secret=b"another host")
    with pytest.raises(TunnelError):
        encrypted.read()
    assert "token" in world.mark()["breach"]["due"]
    assert list(world.list()["breached"]) == ["b"]


def test_a_ca_cannot_take_its_own_place(world):
    """The host is marked nevertheless, and a new one is taken. It stays lost for later runs."""
    with pytest.raises(TunnelError, match=r"^mcp_tunnel_ca_cert: is the CA.*Bring a new CA"):
        world.mark(given=FORMER)
    world.assert_taken_out()
    assert "ca" in world.mark(given=PRESENT)["breach"]["due"]
    world.has_ca(PRESENT)
    assert "ca" not in world.mark(given=PRESENT)["breach"]["due"]
    with pytest.raises(TunnelError, match="is the CA that has signed for b"):
        world.mark(given=FORMER)


def test_a_rotation_that_was_interrupted_is_completed_first(world):
    """Its CA may have signed for the host. The next run replaces that one, with another CA."""
    world.has_ca(PRESENT, FORMER)
    with pytest.raises(TunnelError, match=r"another CA than the one of a rotation.*or without"):
        world.mark(given=ANOTHER)
    world.assert_taken_out()
    assert "ca" in world.mark()["breach"]["due"]
    assert "ca" in world.mark(given=PRESENT)["breach"]["due"]
    world.has_ca(PRESENT)
    with pytest.raises(TunnelError, match="is the CA that has signed for b"):
        world.mark(given=PRESENT)
    assert "ca" in world.mark(given=ANOTHER)["breach"]["due"]
    world.has_ca(ANOTHER)
    assert "ca" not in world.mark(given=ANOTHER)["breach"]["due"]


def test_a_ca_that_waits_to_take_its_place_is_the_one_to_bring(world):
    (world.state / "ca-next.crt").write_text(PRESENT)
    with pytest.raises(TunnelError, match="another CA than the one of a rotation"):
        world.mark(given=ANOTHER)
    assert "ca" in world.mark(given=PRESENT)["breach"]["due"]


def test_a_replica_that_the_inventory_lacks_hinders_no_mark(world):
    """The rest of the run is refused, and a run of site.yml gives the host nothing."""
    with pytest.raises(TunnelError, match="has a, which would be cut off"):
        world.mark(inventory=("c",), needs_all=True)
    world.assert_taken_out()
    with pytest.raises(TunnelError, match="b was taken out as broken into"):
        world.hold(credentials_for=("a", "b"), note=True)


def test_a_list_that_is_lost_hinders_the_mark_and_no_key(world):
    """A list of the mark alone would say that a rotation cuts off nobody."""
    (world.state / "replicas.json").unlink()
    with pytest.raises(TunnelError, match=r"is missing.*run site\.yml with every replica but b"):
        world.mark(needs_list=True)
    assert not (world.state / "replicas.json").exists()
    assert "--member b" not in world.keys.read_text()


def test_the_ca_of_a_lost_state_host_is_the_one_that_the_others_trust(world, tmp_path):
    world.state = tmp_path / "new" / "default"
    world.state.parent.mkdir()
    with pytest.raises(TunnelError, match="is the CA that has signed for b"):
        world.mark(given=FORMER, trusted=FORMER)
    assert "ca" in world.mark(trusted=FORMER)["breach"]["due"]
    world.has_ca(FORMER)
    assert "ca" in world.mark()["breach"]["due"]
    world.has_ca(PRESENT)
    assert "ca" not in world.mark()["breach"]["due"]


def test_a_rotation_from_before_the_breach_is_not_enough(world):
    """The host may have a certificate of the new CA already."""
    world.has_ca(PRESENT, FORMER)
    world.mark()
    world.has_ca(PRESENT)
    assert "ca" in world.mark()["breach"]["due"]


@pytest.mark.parametrize("forget", [(), ("b",)])
def test_credentials_for_a_marked_host_are_refused(world, forget):
    """Also if it is named as gone: it is still the same machine."""
    world.mark()
    before = world.list()
    with pytest.raises(TunnelError, match=r"b was taken out as broken into.*installed anew"):
        world.hold(credentials_for=("a", "b"), forget=forget, note=True)
    assert world.list() == before
    assert world.lease.holder() == {}, "a refusal leaves nothing to wait for"


def test_a_run_that_gives_it_nothing_goes_on(world):
    world.mark()
    found = world.hold(credentials_for=("a",), replicas={"a": A}, note=True)
    assert found["missing"] == []
    assert list(world.list()["breached"]) == ["b"]


def test_it_comes_back_as_another_machine_that_is_named(world):
    world.mark()
    installed = {"replicas": {"a": A, "b": ANEW}, "credentials_for": ("a", "b"), "note": True}
    with pytest.raises(TunnelError, match=r"mcp_tunnel_forget: \[b\] for one run"):
        world.hold(**installed)
    world.hold(**installed, forget=("b",))
    assert world.list()["replicas"]["b"]["machine"] == ANEW
    assert "breached" not in world.list()


def test_a_mark_that_others_alone_remember_is_forgotten_with_them(world):
    """A replica took no part when the host came back. The state host knows of no mark any more."""
    named = {"forget": ("b",), "credentials_for": ("a", "b"), "note": True}
    with pytest.raises(TunnelError, match="names b, a replica of this inventory"):
        world.hold(**named)
    world.hold(**named, installed_anew=("b",))
    assert world.list()["replicas"]["b"]["machine"] == B


@pytest.mark.parametrize(
    "found",
    [
        [],
        {"more": 1},
        {"machine": "x"},
        {"machine": 5},
        {"evidence": "yes"},
        {"machine": B, "evidence": None},
    ],
)
def test_findings_that_are_none(found):
    with pytest.raises(TunnelError, match=r"^breached\.b: is not .*Give its machine"):
        breaches.as_found({"a": {}, "b": found}, "breached")


def test_findings_are_taken_as_they_are():
    told = {"b": {"machine": B, "evidence": True}, "c": {}}
    assert breaches.as_found(told, "breached") == {
        "b": breaches.Found(B, evidence=True),
        "c": breaches.Found(),
    }


def test_a_duty_that_has_not_seen_the_machine_brings_nothing_back(world):
    world.mark()
    with pytest.raises(TunnelError, match="b was taken out"):
        world.hold(replicas={}, credentials_for=("b",), forget=("b",))


@pytest.mark.parametrize("machine", ["", membership.identity(Path("/nonexistent"))])
def test_a_machine_that_is_not_known_is_not_another_one(world, machine):
    """Neither the one that was marked, nor the one that is there now."""
    world.mark()
    empty = {"replicas": {"a": A, "b": machine or ANEW}, "credentials_for": ("a", "b")}
    if not machine:
        world.has_mark(machine="")
    with pytest.raises(TunnelError, match="b was taken out"):
        world.hold(**empty, forget=("b",), note=True)
    assert list(world.list()["breached"]) == ["b"]


def test_the_same_machine_has_its_mark_under_another_name(world):
    world.mark()
    renamed = {"replicas": {"a": A, "c": B}, "inventory": ("a", "c"), "note": True}
    with pytest.raises(TunnelError, match=r"c \(as b\) was taken out"):
        world.hold(**renamed, credentials_for=("a", "c"))
    with pytest.raises(TunnelError, match=r"c \(as b\) was taken out"):
        world.hold(**renamed, credentials_for=("a", "c"), forget=("b", "c"))


def test_a_clone_of_the_machine_is_not_the_host(world):
    """Copies of one image may have the same /etc/machine-id."""
    world.hold(replicas={"d": B}, inventory=("a", "b", "d"), note=True)
    world.mark()
    world.hold(replicas={"a": A, "d": B}, inventory=("a", "d"), credentials_for=("a", "d"))


def test_a_new_state_host_gives_credentials_to_clones(world, tmp_path):
    world.state = tmp_path / "new" / "default"
    world.state.parent.mkdir()
    world.hold(replicas={}, inventory=("a",), note=True, breached={"b": breaches.Found(A)})
    world.hold(replicas={"a": A}, inventory=("a",), credentials_for=("a",), note=True)


def test_a_duty_that_has_not_seen_the_machines_gives_nothing_to_a_new_name(world):
    world.mark()
    world.hold(replicas={}, credentials_for=("a",))
    with pytest.raises(TunnelError, match=r"does not have c, and b was taken out"):
        world.hold(replicas={}, credentials_for=("a", "c"))


def test_a_name_that_is_given_as_gone_keeps_its_mark(world):
    """The host takes no part, so nobody has seen another machine."""
    world.mark()
    world.hold(replicas={"a": A}, inventory=("a",), forget=("b",), note=True)
    assert list(world.list()["breached"]) == ["b"]


def test_a_torn_down_host_keeps_its_mark(world):
    world.mark()
    state_host.release(str(world.state), RUN, world.lease, [], ["b"], world.signatories)
    assert list(world.list()["breached"]) == ["b"]


def test_a_lost_list_learns_the_machine_from_the_host_and_the_evidence_once(world, tmp_path):
    world.state = tmp_path / "new" / "default"
    world.state.parent.mkdir()
    world.mark()
    assert world.list()["breached"]["b"]["evidence"] == ""
    told = {"b": breaches.Found(B, evidence=True)}
    for _ in range(2):
        found = world.hold(replicas={}, inventory=("a",), note=True, breached=told)
        (mark,) = found["breach"]["marked"]
        assert (mark["name"], mark["machine"]) == ("b", B)
        assert mark["evidence"]
    world.hold(replicas={}, inventory=("a",), note=True, breached={"b": breaches.Found(ANEW)})
    assert world.list()["breached"]["b"] == {
        "machine": B,
        "since": mark["since"],
        "ca": "",
        "token": "",
        "evidence": mark["evidence"],
    }


def test_who_was_proven_changes_no_mark(world):
    world.mark()
    state_host.release(str(world.state), RUN, world.lease, ["a"], [], world.signatories)
    assert list(world.list()["breached"]) == ["b"]


def test_an_earlier_release_refuses_a_list_with_marks(world):
    """It would write it without them."""
    assert world.list()["version"] == 1
    world.mark()
    assert world.list()["version"] == 2


@pytest.mark.parametrize(
    "marks",
    [
        [],
        {"b": {}},
        {"../b": MARK},
        {"b": {**MARK, "machine": "x"}},
        {"b": {**MARK, "since": "today"}},
        {"b": {**MARK, "ca": "x"}},
        {"b": {**MARK, "token": "x"}},
        {"b": {**MARK, "evidence": "yes"}},
        {"b": {**MARK, "more": 1}},
        {str(number): MARK for number in range(501)},
    ],
)
def test_marks_that_are_none(marks):
    known = json.loads(members.Members("", {"a": members.Member(A)}).text())
    with pytest.raises(TunnelError, match=r"^replicas\.json: has .*Restore the file"):
        members.read(json.dumps({**known, "version": 2, "breached": marks}), SUBJECT)


def test_marks_are_read_as_they_were_written():
    known = members.Members("", {"a": members.Member(A)}, {"b": breaches.Mark(B, NOW, "ab" * 32)})
    assert members.read(known.text(), SUBJECT) == known
