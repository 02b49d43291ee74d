"""What a state host knows of its copies."""

from __future__ import annotations

import json

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.copies import records
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.copies.states import (
    make_files,
    write_files,
)

AT = "2026-11-29T05:00:00Z"


def a_copy(state, **changes):
    """Return a copy of that state."""
    others = {"sha256": "12" * 32, "made_at": AT, "seen_at": AT, "recipients": "34" * 32}
    return records.Copy(**{"state": state, **others, **changes})


@pytest.fixture
def directory(tmp_path, openssl_ca):
    """A state directory."""
    return write_files(tmp_path / "default", make_files(openssl_ca))


def test_each_kind_is_remembered_beside_the_other(directory):
    state = records.look(str(directory)).state
    records.store(str(directory), "backup", a_copy(state))
    records.store(str(directory), "standby", a_copy("ab" * 32, hosts=["host2"]))
    known = records.look(str(directory))
    assert known.state == state, "the record is no part of the state"
    assert known.is_current("backup")
    assert known.is_current("backup", "34" * 32)
    assert not known.is_current("backup", "56" * 32)
    assert not known.is_current("standby")
    assert known.copies["standby"].hosts == ["host2"]


def test_who_keeps_a_copy_is_seen_again(directory):
    """A host that was not looked at may still have it."""
    path = str(directory)
    records.see(path, {"host2": "12" * 32}, AT)
    assert records.load(path) == {}, "no copy was made"
    records.store(path, "standby", a_copy(records.look(path).state, hosts=["host2", "host3"]))
    later, latest = "2026-12-01T00:00:00Z", "2026-12-02T00:00:00Z"
    records.see(path, {"host2": "", "host4": "12" * 32}, later)
    copy = records.load(path)["standby"]
    assert (copy.hosts, copy.seen_at, copy.made_at) == (["host3", "host4"], later, AT)
    assert records.look(path).is_current("standby")
    records.see(path, {"host3": "34" * 32, "host4": ""}, latest)
    assert records.load(path)["standby"].hosts == []
    assert records.load(path)["standby"].seen_at == later, "nobody has it any more"
    assert not records.look(path).is_current("standby")


def test_without_a_record_nothing_is_known(directory, tmp_path):
    assert records.look(str(directory)).copies == {}
    nothing = records.look(str(tmp_path / "none"))
    assert (nothing.state, nothing.copies) == ("", {})
    assert not nothing.is_current("backup")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{",
        '{"backup": 1}',
        '{"backup": {"state": 1}}',
        json.dumps({"backup": {**vars(a_copy("ab" * 32)), "made_at": "soon"}}),
        json.dumps({"backup": {**vars(a_copy("ab" * 32)), "seen_at": "2026-99-99T99:99:99Z"}}),
        json.dumps({"backup": {**vars(a_copy("ab" * 32)), "more": 1}}),
        json.dumps({"backup": {**vars(a_copy("ab" * 32)), "hosts": [1]}}),
        "[" * 100000,
    ],
)
def test_a_record_that_cannot_be_read_counts_as_none(directory, content):
    (directory / "copies.json").write_text(content)
    assert records.look(str(directory)).copies == {}
    records.store(str(directory), "backup", a_copy("ab" * 32))
    assert set(records.load(str(directory))) == {"backup"}


def test_ages():
    copy = a_copy("ab" * 32)
    assert records.age(copy, 1795928400 + 60) == 60
    assert records.age(copy, 0) == 0
