"""The findings of a run on the state host, and its traces there."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import re
import shutil
from dataclasses import replace

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.copies import records
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.copies.metrics import Metrics
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.copies.notes import Notes
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision import state_host
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision.lease import Lease, Run
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision.signatories import (
    Signatories,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision.token_store import (
    TokenRequest,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.locks import while_locked

RUN = Run(id="1" * 16, owner="root on a, process 1", controller="a" * 16, process="1:1")
OTHER = replace(RUN, id="2" * 16)
A, B = "0123456789abcdef", "fedcba9876543210"


class World:
    """A state host with its directories."""

    def __init__(self, directory):
        self.state = directory / "default"
        self.keys = directory / "home" / ".ssh" / "authorized_keys"
        self.signatories = Signatories("default", str(self.keys))
        self.lease = Lease("default", directory / "leases", 1000.0)
        self.request = state_host.Request(
            path=str(self.state),
            run=RUN,
            seconds=900,
            instead_of="",
            replicas={"a": A, "b": B},
            inventory=("a", "b"),
            forget=(),
            domain="",
            needs_all=False,
            needs_list=False,
            note=False,
            token=None,
        )

    def hold(self, check_mode=False, **changes):
        return state_host.hold(replace(self.request, **changes), self.lease, check_mode)

    def release(self, confirmed, forget):
        state_host.release(str(self.state), RUN, self.lease, confirmed, forget, self.signatories)

    def renewal(self, wanted=True, **keys):
        return state_host.Renewal(wanted, keys, self.signatories)

    def asking(self):
        found = re.findall("--member (\\w+)", self.keys.read_text()) if self.keys.exists() else []
        return sorted(found)

    def names(self):
        return list(json.loads((self.state / "replicas.json").read_text())["replicas"])


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_a_look_changes_nothing_but_the_lease(world):
    found = world.hold()
    assert found["noted"] is False
    assert found["present"] is False
    assert not world.state.exists()
    assert world.lease.holder()["id"] == RUN.id


def test_check_mode_does_not_even_take_the_lease(world):
    assert world.hold(check_mode=True, note=True)["changed"] is True
    assert world.lease.holder() == {}
    assert not world.state.exists()


def test_replicas_are_noted_once(world):
    assert world.hold(note=True)["changed"] is True
    assert world.names() == ["a", "b"]
    again = world.hold(note=True)
    assert (again["changed"], again["noted"]) == (False, True)


def test_a_run_that_comes_second_learns_nothing_else(world):
    world.hold(note=True)
    found = world.hold(run=OTHER, replicas={"c": A}, note=True)
    assert set(found) == {"changed", "holder"}
    assert world.names() == ["a", "b"]


def test_who_is_missing_is_named_or_refused(world):
    world.hold(note=True)
    half = {"replicas": {"b": B}, "inventory": ("b",)}
    assert world.hold(**half, note=True)["missing"] == ["a"]
    assert world.names() == ["a", "b"]
    with pytest.raises(
        TunnelError, match=r"has a, which would be cut off.*mcp_tunnel_forget: \[a\]"
    ):
        world.hold(**half, needs_all=True)
    assert world.lease.holder() == {}, "a refusal leaves nothing to wait for"
    assert world.hold(**half, needs_all=True, forget=("a",), note=True)["missing"] == []
    assert world.names() == ["b"]


def test_a_rotation_needs_the_list_beside_credentials(world):
    """Without a list, nobody would be missing, and a replica that is not here would be cut off."""
    world.hold(note=True)
    (world.state / "ca.crt").write_text("a CA")
    (world.state / "replicas.json").unlink()
    with pytest.raises(TunnelError, match=r"replicas\.json: is missing.*run site\.yml with every"):
        world.hold(needs_list=True)
    assert world.lease.holder() == {}
    world.hold(note=True)
    assert world.hold(needs_list=True)["missing"] == []


def test_a_first_rotation_without_credentials_has_no_list(world):
    assert world.hold(needs_list=True)["noted"] is False


@pytest.mark.parametrize("text", ["{", "", " \n"])
def test_a_corrupt_list_is_refused_and_stays(world, text):
    """An empty file is no list, either: a full disk or a hand has emptied it."""
    world.hold(note=True)
    (world.state / "replicas.json").write_text(text)
    with pytest.raises(TunnelError, match="Restore the file from a backup"):
        world.hold(note=True)
    world.release([], [])
    with pytest.raises(TunnelError):
        world.release(["a"], [])
    assert (world.state / "replicas.json").read_text() == text
    assert world.lease.holder() == {}


def test_who_was_proven_is_noted_at_the_end(world):
    world.hold(note=True)
    world.release(["a", "stranger"], ["b"])
    content = json.loads((world.state / "replicas.json").read_text())
    assert list(content["replicas"]) == ["a"]
    assert content["replicas"]["a"]["confirmed"].startswith("20")
    assert world.lease.holder() == {}


def test_the_end_of_a_teardown_makes_no_directory(world):
    world.hold()
    world.release(["a"], [])
    assert not world.state.exists()


def test_given_values_are_compared(world):
    wrong = TokenRequest(path=str(world.state), replace=False, token="x", domain="x.example.com")
    found = world.hold(token=wrong)
    assert found["already_stored"] is False
    assert found["misfit"].startswith("token: ")


def test_a_list_never_grows_beyond_what_is_read(world):
    """Hosts that come and go, as in a group that scales, leave their names behind."""
    most = {f"old{number}": A for number in range(500)}
    world.hold(replicas=most, inventory=tuple(most), note=True)
    with pytest.raises(TunnelError, match=r"would have 501 .* lacks 500 .* mcp_tunnel_forget"):
        world.hold(replicas={"new": A}, inventory=("new",), note=True)
    assert len(world.hold(replicas=most, inventory=tuple(most))["missing"]) == 0


def _confirm(world, path, number):
    run = replace(RUN, id=f"{number:016x}")
    ended = (str(path / "default"), run, Lease("default", path / "leases"))
    for _turn in range(5):
        state_host.release(*ended, [f"r{number}"], [f"gone{number}"], world.signatories)


def test_of_many_ends_at_once_each_is_noted(tmp_path, world):
    """Runs whose leases have ended meanwhile write the list at the same time."""
    numbers = range(8)
    names = [f"{stem}{number}" for number in numbers for stem in ("r", "gone")]
    world.hold(replicas=dict.fromkeys(names, A), inventory=tuple(names), note=True)
    context = multiprocessing.get_context("fork")
    runs = [context.Process(target=_confirm, args=(world, tmp_path, number)) for number in numbers]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    replicas = json.loads((world.state / "replicas.json").read_text())["replicas"]
    assert sorted(replicas) == [f"r{number}" for number in numbers]
    assert all(each["confirmed"] for each in replicas.values())


START = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBB"
KEY, OTHER_KEY = (START + letter * 86 + "=" for letter in "AB")


def test_replicas_that_renew_are_let_in_with_the_list(world):
    world.hold(note=True)
    assert world.hold(renewal=world.renewal(b=KEY))["noted"] is False
    assert world.asking() == []
    assert world.hold(renewal=world.renewal(b=KEY), note=True)["changed"] is True
    assert world.asking() == ["b"]
    found = world.hold(renewal=world.renewal(b=KEY), note=True)
    assert (found["noted"], found["changed"]) == (True, False)
    # A look of a playbook that does not know about keys.
    assert world.hold(note=True)["noted"] is True
    assert world.asking() == ["b"]


def test_a_key_that_is_still_to_be_made_is_asked_for_again(world):
    world.hold(note=True)
    assert world.hold(renewal=world.renewal(b=""))["noted"] is False


def test_check_mode_lets_nobody_in(world):
    world.hold(note=True)
    assert world.hold(check_mode=True, renewal=world.renewal(b=KEY), note=True)["changed"] is True
    assert world.asking() == []


def test_one_that_is_forgotten_may_ask_no_more(world):
    world.hold(note=True, renewal=world.renewal(a=KEY, b=OTHER_KEY))
    assert world.asking() == ["a", "b"]
    only = {"replicas": {"a": A}, "inventory": ("a",), "forget": ("b",)}
    world.hold(note=True, renewal=world.renewal(a=KEY), **only)
    assert world.asking() == ["a"]


def test_a_teardown_takes_the_line_of_a_replica_and_then_all(world):
    world.hold(note=True, renewal=world.renewal(a=KEY, b=OTHER_KEY))
    world.release([], ["b"])
    assert world.asking() == ["a"]
    shutil.rmtree(world.state)
    world.release([], [])
    assert world.asking() == []


def test_who_may_ask_is_changed_by_one_run_at_a_time(world, tmp_path, monkeypatch):
    """Instances share the file: two of them that end, or are torn down, must lose no line."""
    locked = while_locked(monkeypatch, Signatories, "_write", tmp_path / "leases")
    world.hold(note=True, renewal=world.renewal(a=KEY, b=OTHER_KEY))
    world.release([], ["b"])
    shutil.rmtree(world.state)
    world.release([], [])
    assert locked == [True] * 3


def test_two_replicas_with_one_key_are_refused_and_hinder_nobody(world):
    with pytest.raises(TunnelError, match=r"one key for a of .* and b of"):
        world.hold(note=True, renewal=world.renewal(a=KEY, b=KEY))
    assert world.asking() == []
    assert world.lease.holder() == {}


def test_nobody_may_ask_when_nobody_is_to_renew(world):
    world.hold(note=True, renewal=world.renewal(b=KEY))
    assert world.hold(renewal=world.renewal(wanted=False))["noted"] is False
    assert world.asking() == ["b"]
    assert world.hold(note=True, renewal=world.renewal(wanted=False))["changed"] is True
    assert world.asking() == []
    assert world.hold(renewal=world.renewal(wanted=False))["noted"] is True


RECIPIENT = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"


def a_copy(world, recipients=(RECIPIENT,)):
    """Return what a run tells of the copy that it has made of the present state."""
    return {
        "kind": "standby",
        "state": records.look(str(world.state)).state,
        "sha256": "12" * 32,
        "made_at": "2026-11-29T05:00:00Z",
        "seen_at": "2026-11-29T05:00:00Z",
        "recipients": hashlib.sha256("\n".join(recipients).encode()).hexdigest(),
        "hosts": ["b"],
        "changed": False,
    }


def test_a_copy_is_current_as_long_as_the_state_and_its_recipients_are(world):
    world.hold(note=True)
    asked = {"recipients": (RECIPIENT,)}
    assert world.hold(**asked)["standby"] == ""
    copied = Notes(copied=a_copy(world))
    assert world.hold(**asked, notes=copied, check_mode=True)["standby"] == ""
    assert world.hold(**asked, notes=copied)["standby"] == "12" * 32
    assert world.hold(**asked)["standby"] == "12" * 32
    assert world.hold()["standby"] == "", "nobody asks without recipients"
    # A proof is no change of the state.
    state_host.release(str(world.state), RUN, world.lease, ["a"], [], world.signatories)
    assert world.hold(**asked)["standby"] == "12" * 32
    assert world.hold(replicas={"a": A, "b": B, "c": "c" * 16}, note=True, **asked)["standby"] == ""


def test_a_copy_for_other_recipients_is_not_current(world):
    world.hold(note=True)
    world.hold(notes=Notes(copied=a_copy(world, ("age1other",))))
    assert world.hold(recipients=(RECIPIENT,))["standby"] == ""


def test_a_run_leaves_the_metrics_of_the_copies(world, tmp_path):
    world.hold(note=True)
    place = tmp_path / "textfiles"
    with pytest.raises(TunnelError, match="mcp_tunnel_textfile_dir"):
        world.hold(notes=Notes(metrics=Metrics("default", str(place))))
    assert world.lease.holder() == {}, "a refusal leaves nothing to wait for"
    place.mkdir()
    metrics = Metrics("default", str(place))
    world.hold(notes=Notes(metrics=metrics))
    told = Notes(copied=a_copy(world), metrics=metrics)
    state_host.release(str(world.state), RUN, world.lease, [], [], world.signatories, told)
    assert 'kind="standby"} 1\n' in (place / "mcp_tunnel_state_default.prom").read_text()


def test_a_run_that_makes_no_copy_sees_those_that_there_are(world):
    world.hold(note=True)
    world.hold(notes=Notes(copied=a_copy(world)))
    later = "2026-12-01T00:00:00Z"
    asked = {"recipients": (RECIPIENT,)}
    ended = (str(world.state), RUN, world.lease, [], [], world.signatories)
    state_host.release(*ended, Notes(seen={"b": "12" * 32}, at=later))
    assert records.load(str(world.state))["standby"].seen_at == later
    assert world.hold(**asked)["standby"] == "12" * 32
    state_host.release(*ended, Notes(seen={"b": ""}, at=later))
    assert world.hold(**asked)["standby"] == "", "no replica keeps it"


def test_a_state_that_cannot_be_copied_hinders_no_run(world, tmp_path):
    """The module that copies it names the reason."""
    world.hold(note=True)
    (world.state / "link").symlink_to("/etc/passwd")
    assert world.hold(recipients=(RECIPIENT,))["standby"] == ""
    notes = Notes(metrics=Metrics("default", str(tmp_path)))
    state_host.release(str(world.state), RUN, world.lease, [], [], world.signatories, notes)
    assert world.lease.holder() == {}


def test_a_run_that_cannot_write_leaves_nothing_to_wait_for(world, tmp_path, monkeypatch):
    def fail(*_arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Metrics, "write", fail)
    notes = Notes(metrics=Metrics("default", str(tmp_path)))
    with pytest.raises(OSError, match="Permission denied"):
        world.hold(notes=notes)
    assert world.lease.holder() == {}
