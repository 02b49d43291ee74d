from __future__ import annotations

import io
import os
import subprocess
import tarfile

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica.releases import (
    Releases,
    in_use,
    unpacked,
)


def pack(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for name, content, mode in members:
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), mode
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def archive(tmp_path):
    return pack(
        tmp_path / "release.tar.gz",
        [("bin/tool", b"#!/bin/sh\n", 0o755), ("lib/package/module.py", b"x = 1\n", 0o644)],
    )


@pytest.fixture
def releases(tmp_path):
    return Releases("proxy", tmp_path / "opt")


def test_unpacked_as_it_was_packed_and_compiled(releases, archive):
    assert not releases.is_present("1")
    releases.unpack("1", archive)
    assert releases.is_present("1")
    assert os.access(releases.path("1") / "bin/tool", os.X_OK)
    assert not os.access(releases.path("1") / "lib/package/module.py", os.X_OK)
    assert list((releases.path("1") / "lib").rglob("*.pyc"))
    assert sorted(path.name for path in releases.path("1").parent.iterdir()) == ["1"]


@pytest.fixture
def hardened_umask():
    """The umask that a hardened host's sudoers sets for root."""
    before = os.umask(0o077)
    yield
    os.umask(before)


def closed_to_services(directory):
    """Return the paths, from the directory down, that the services' users could not read."""
    paths = [directory, *directory.rglob("*")]
    return [path for path in paths if path.stat().st_mode & 0o755 not in (0o755, 0o644)]


@pytest.mark.usefixtures("hardened_umask")
def test_a_release_made_under_a_hardened_umask_is_opened_by_a_later_run(releases, archive):
    releases.unpack("1", archive)
    root = releases.path("1").parent.parent
    (root / "cloudflared").mkdir()
    closed = closed_to_services(root)
    assert closed
    assert releases.open_to_services("1", check_mode=True)
    assert closed_to_services(root) == closed
    assert releases.open_to_services("1", check_mode=False)
    assert closed_to_services(root) == [root / "cloudflared"]  # not a part of this release
    assert not releases.open_to_services("1", check_mode=False)


def test_a_release_has_the_labels_of_the_policy_when_it_has_its_name(releases, archive, selinux):
    """The labels are those of its final path: it is unpacked below another one."""
    selinux.mislabel(f"{releases.path('1')}/bin/tool")
    releases.unpack("1", archive)
    assert selinux.commands() == [f"-R -v {releases.path('1')}"]
    assert not releases.open_to_services("1", check_mode=True)
    releases.link("package", "/usr/bin/env")
    assert selinux.commands()[-1] == f"-R -v {releases.path('package')}"


def test_labels_are_put_right_by_a_later_run(releases, archive, selinux, tmp_path):
    releases.unpack("1", archive)
    releases.activate("1")
    assert in_use(tmp_path / "opt") == {"proxy": "1"}
    selinux.mislabel(f"{releases.path('1')}/bin/tool")
    assert in_use(tmp_path / "opt") == {}
    assert releases.open_to_services("1", check_mode=True)
    assert releases.open_to_services("1", check_mode=False)
    assert not releases.open_to_services("1", check_mode=False)
    assert in_use(tmp_path / "opt") == {"proxy": "1"}


def test_a_packaged_binary_keeps_its_permissions(releases, tmp_path):
    binary = tmp_path / "packaged"
    binary.touch(mode=0o700)
    releases.link("package", str(binary))
    releases.open_to_services("package", check_mode=False)
    assert binary.stat().st_mode & 0o777 == 0o700


def test_a_traceback_names_the_finished_release(releases, archive):
    releases.unpack("1", archive)
    lib = str(releases.path("1") / "lib")
    code = "import package.module as m; print(m.__loader__.get_code('package.module').co_filename)"
    done = subprocess.run(
        ["/usr/bin/python3", "-c", code],
        env={"PYTHONPATH": lib},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == f"{lib}/package/module.py", done.stderr


def test_what_a_killed_run_left_is_no_release_and_goes_away(releases, archive):
    leftover = releases.path("1").with_name("1.tmp")
    leftover.mkdir(parents=True)
    (leftover / "half").write_text("x")
    assert not releases.is_present("1")
    releases.unpack("1", archive)
    assert not leftover.exists()
    assert not (releases.path("1") / "half").exists()


def test_a_broken_archive_leaves_no_release(releases, tmp_path, archive):
    broken = tmp_path / "broken.tar.gz"
    broken.write_bytes(archive.read_bytes()[:60])
    with pytest.raises((tarfile.TarError, EOFError, OSError)):
        releases.unpack("1", broken)
    assert not releases.is_present("1")
    assert list(releases.path("1").parent.iterdir()) == []


@pytest.mark.parametrize("name", ["/etc/passwd", "../outside", "lib/../../outside"])
def test_a_path_that_leads_outside_is_refused(releases, tmp_path, name):
    with pytest.raises(TunnelError, match="has no place in a release"):
        releases.unpack("1", pack(tmp_path / "evil.tar.gz", [(name, b"x", 0o644)]))
    assert not (tmp_path / "outside").exists()


def test_a_link_in_an_archive_is_refused(releases, tmp_path):
    with tarfile.open(tmp_path / "evil.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("lib")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(member)
    with pytest.raises(TunnelError, match="has no place in a release"):
        releases.unpack("1", tmp_path / "evil.tar.gz")


def test_what_no_command_imports_is_not_compiled(releases, tmp_path):
    members = ["command-lib/pygments/lexers/c.py", "command-lib/rich/table.py", "lib/pygments.py"]
    packed = pack(tmp_path / "rich.tar.gz", [(name, b"x = 1\n", 0o644) for name in members])
    releases.unpack("1", packed)
    compiled = {path.parent.parent.name for path in releases.path("1").rglob("*.pyc")}
    assert compiled == {"rich", "lib"}


def test_activation_switches_the_link(releases, archive):
    releases.unpack("1", archive)
    releases.unpack("2", archive)
    assert releases.current() == ""
    releases.activate("1")
    releases.activate("2")
    assert releases.current() == "2"
    assert (releases.path("current") / "bin/tool").exists()


def test_a_release_that_is_a_link_to_a_package(releases):
    releases.link("package", "/usr/bin/env")
    assert os.readlink(releases.path("package") / "bin" / "env") == "/usr/bin/env"


def test_pruning_keeps_what_is_named_what_is_active_and_the_newest_other(releases, archive):
    for number, version in enumerate(("1", "2", "3", "4", "5")):
        releases.unpack(version, archive)
        os.utime(releases.path(version), (number, number))
    releases.activate("5")
    assert releases.prune({"1"}) == ["2", "3"]
    assert sorted(path.name for path in releases.path("1").parent.iterdir()) == [
        "1", "4", "5", "current",
    ]  # fmt: skip


def test_pruning_nothing(tmp_path):
    assert Releases("proxy", tmp_path / "nowhere").prune(set()) == []


def test_what_is_in_use(releases, archive, tmp_path):
    root = tmp_path / "opt"
    releases.unpack("1", archive)
    assert in_use(root) == {}, "not activated yet"
    releases.activate("1")
    assert in_use(root) == {"proxy": "1"}
    releases.activate("2")
    assert in_use(root) == {}, "it is not there"


def test_a_release_that_services_cannot_read_is_not_in_use(releases, archive, tmp_path):
    releases.unpack("1", archive)
    releases.activate("1")
    (releases.path("1") / "bin/tool").chmod(0o700)
    assert in_use(tmp_path / "opt") == {}


def test_all_complete_releases_are_listed(tmp_path, releases, archive):
    """Active or not; what a killed run has left is none."""
    root = tmp_path / "opt"
    assert unpacked(root) == {"proxy": [], "cloudflared": []}
    releases.unpack("1", archive)
    releases.unpack("2", archive)
    releases.activate("1")
    (root / "proxy" / "3.tmp").mkdir()
    assert unpacked(root) == {"proxy": ["1", "2"], "cloudflared": []}
