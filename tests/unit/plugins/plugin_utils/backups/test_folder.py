"""The folder of an operator's backups."""

from __future__ import annotations

import json
import stat

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.backups import folder
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import simulated_hosts


def described(made_at="2026-11-29T05:00:00Z", instance="default", **changes):
    """Return what lies beside a backup of the text that simulated hosts send."""
    text = simulated_hosts.armored()
    texts = {"tunnel_id": "", "domain": "", "ca_fingerprint": "", "state": "ab" * 32}
    about = {
        "instance": instance,
        "sha256": folder.sha256_of(text),
        "size": len(text),
        "made_at": made_at,
        "made_by": "9.8.7",
        "recipients": "cd" * 32,
        **texts,
        **changes,
    }
    return folder.Description(**about)


def write(path, *given, **changes):
    """Write a backup."""
    return folder.write(path, simulated_hosts.armored(), described(*given, **changes))


def test_the_newest_is_found(tmp_path):
    place = tmp_path / "a" / "b"
    write(place, "2026-11-29T05:00:00Z")
    newest = write(place, "2026-11-29T05:00:01Z")
    write(place, "2026-11-29T05:00:02Z", "lab")
    write(place, "2026-11-29T05:00:03Z", "default-lab")
    found = folder.newest(place, "default")
    assert found.path == newest
    assert newest.name == "default-20261129T050001Z.age"
    assert {stat.S_IMODE(each.stat().st_mode) for each in place.iterdir()} == {0o600}
    assert stat.S_IMODE(place.stat().st_mode) == 0o700


def test_one_of_a_clock_that_was_ahead_is_not_the_newest(tmp_path):
    write(tmp_path, "2999-01-01T00:00:00Z")
    right = write(tmp_path, "2026-11-29T05:00:00Z")
    assert folder.newest(tmp_path, "default").path == right
    right.unlink()
    assert folder.newest(tmp_path, "default").about.made_at.startswith("2999")


def test_a_backup_that_others_could_have_put_there(tmp_path):
    """One of their own, for the recipient of the operator."""
    path = write(tmp_path / "backups")
    assert folder.read(path) == simulated_hosts.armored()
    (tmp_path / "link").symlink_to(path)
    assert folder.read(tmp_path / "link") == simulated_hosts.armored()
    for place in (path, path.parent):
        mode = stat.S_IMODE(place.stat().st_mode)
        place.chmod(mode | 0o022)
        with pytest.raises(TunnelError, match=r"mcp_tunnel_backup_file: .*can be written by other"):
            folder.read(path)
        place.chmod(mode)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path, about: path.unlink(),
        lambda path, about: path.write_text(path.read_text()[:-10]),
        lambda path, about: path.write_text("x" * 1_000_000),
        lambda path, about: about.unlink(),
        lambda path, about: about.write_text("{"),
        lambda path, about: about.write_text("[]"),
        lambda path, about: about.write_text(
            about.read_text().replace('"2026-11-29T05:00:01Z"', "20261129")
        ),
        lambda path, about: about.write_text(about.read_text().replace("2026-11-29", "2026-99-99")),
        lambda path, about: about.write_text(json.dumps({"instance": "default"})),
    ],
)
def test_a_damaged_one_is_passed_over(tmp_path, damage):
    earlier = write(tmp_path, "2026-11-29T05:00:00Z")
    later = write(tmp_path, "2026-11-29T05:00:01Z")
    damage(later, tmp_path / f"{later.name}.json")
    assert folder.newest(tmp_path, "default").path == earlier


def test_without_a_folder_there_is_none(tmp_path):
    assert folder.newest(tmp_path / "none", "default") is None


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TunnelError, match=r"mcp_tunnel_backup_dest: .*file"):
        write(tmp_path / "file" / "below")


def test_a_place_that_others_can_write(tmp_path):
    """They could remove a backup, or describe one that is not there."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o777)
    with pytest.raises(TunnelError, match=r"mcp_tunnel_backup_dest: .*can be written by other"):
        write(tmp_path / "shared")
    with pytest.raises(TunnelError, match="could remove backups, or pretend"):
        folder.newest(tmp_path / "shared", "default")
    assert list((tmp_path / "shared").iterdir()) == []


def test_a_link_in_the_place_of_a_backup_is_replaced(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / "default-20261129T050000Z.age").symlink_to(precious)
    write(tmp_path)
    assert precious.read_text() == "mine"


@pytest.mark.parametrize("text", ["", "hello", simulated_hosts.armored()[:-30]])
def test_texts_that_are_no_copies(tmp_path, text):
    with pytest.raises(TunnelError, match="the copy that the state host has sent"):
        folder.write(tmp_path, text, described())
    assert list(tmp_path.iterdir()) == []
