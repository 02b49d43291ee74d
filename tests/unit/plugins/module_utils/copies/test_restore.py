"""The state comes back as a whole, into a directory that has none."""

from __future__ import annotations

import os
import stat

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.copies import restore
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.copies.state import State
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import secret_files
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.copies.states import (
    make_files,
    write_files,
)

MADE_AT = "2026-11-29T05:00:00Z"


@pytest.fixture
def wanted(openssl_ca):
    """The state of a copy."""
    return State(make_files(openssl_ca))


def put(path, wanted, check=False):
    """Restore; return whether that was a change."""
    return restore.restore(str(path), wanted, MADE_AT, check)["changed"]


def on_disk(path):
    """Return name to content of everything in a directory."""
    return {entry.name: entry.read_bytes() for entry in path.iterdir()}


@pytest.mark.parametrize("before", ["nothing", "an empty directory", "left-overs"])
def test_the_state_comes_back_for_its_owner_alone(tmp_path, wanted, before):
    path = tmp_path / "var" / "default"
    if before != "nothing":
        path.mkdir(parents=True)
    if before == "left-overs":
        (path / "copies.json").write_text("{}")
        (path / ".ca.key.4711.mcp-tunnel").write_text("half")
        (path / ".ca.key.former.mcp-tunnel").write_text("of a run that changed its form")
    assert put(path, wanted, check=True)
    assert put(path, wanted)
    assert on_disk(path) == wanted.files
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert {stat.S_IMODE(entry.stat().st_mode) for entry in path.iterdir()} == {0o600}
    assert not put(path, wanted)
    assert not put(path, wanted, check=True)


def test_check_mode_makes_nothing(tmp_path, wanted):
    assert put(tmp_path / "var" / "default", wanted, check=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("changed", ["tunnel-token", "ca.key", "replicas.json"])
def test_another_state_is_left_alone(tmp_path, wanted, changed):
    files = {**wanted.files, changed: wanted.files[changed] + b"#"}
    path = write_files(tmp_path / "default", files)
    with pytest.raises(TunnelError, match=f"another state than the copy \\({changed} differ\\)"):
        put(path, wanted)
    assert on_disk(path) == files


def test_part_of_the_state_is_another_state(tmp_path, wanted):
    """Half of it may be what is left of a later one."""
    path = write_files(tmp_path / "default", {"ca.crt": wanted.files["ca.crt"]})
    os.utime(path / "ca.crt", (0, 0))
    with pytest.raises(TunnelError, match="1970-01-01T00:00:00Z, before the copy was made at"):
        put(path, wanted)


def test_a_later_state_is_told(tmp_path, wanted):
    path = write_files(tmp_path / "default", {**wanted.files, "tunnel-token": b"x"})
    os.utime(path / "tunnel-token", (4102444800, 4102444800))
    with pytest.raises(TunnelError, match="2100-01-01T00:00:00Z, after the copy was made at"):
        put(path, wanted)


def test_the_proofs_of_replicas_do_not_count(tmp_path, wanted):
    later = wanted.files["replicas.json"].replace(b"2026-11-01", b"2026-11-29")
    path = write_files(tmp_path / "default", {**wanted.files, "replicas.json": later})
    assert not put(path, wanted)


@pytest.mark.parametrize("what", ["old", "Notes.txt"])
def test_something_of_somebody_else_is_not_removed(tmp_path, wanted, what):
    path = tmp_path / "default"
    (path / what).mkdir(parents=True)
    with pytest.raises(TunnelError, match=f"has no state, but {what}"):
        put(path, wanted)
    assert (path / what).is_dir()


def test_a_link_is_not_followed(tmp_path, wanted):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "default").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TunnelError, match="is not a directory"):
        put(tmp_path / "default", wanted)


class Killed(BaseException):
    """As a power failure is: nothing handles it."""


def test_killed_at_each_step_and_completed_by_the_next(tmp_path, wanted, monkeypatch):
    """There is never a part of the state; the next run completes it, and leaves nothing behind."""
    steps = ("open", "rename", "mkdir", "fsync")
    for number in range(200):
        path = tmp_path / str(number) / "default"
        left = [number]

        def dying(real, left):
            def step(*given, **more):
                if left[0] == 0:
                    raise Killed
                left[0] -= 1
                return real(*given, **more)

            return step

        with monkeypatch.context() as patch:
            for name in steps:
                patch.setattr(os, name, dying(getattr(os, name), left))
            patch.setattr(secret_files, "remove_file", lambda path: False)
            try:
                put(path, wanted)
                survived = True
            except Killed:
                survived = False
        if path.exists():
            assert on_disk(path) == wanted.files, number
        put(path, wanted)
        assert on_disk(path) == wanted.files
        assert [entry.name for entry in path.parent.iterdir()] == ["default"]
        if survived:
            assert number > 20
            return
    raise AssertionError("it never came to its end")
