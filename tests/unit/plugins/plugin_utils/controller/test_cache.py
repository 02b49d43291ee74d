"""The cache as an attacker sees it: another user with an account on the controller."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller import private_path
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller.cache import (
    cache_root,
    cached,
)

NOBODY = 65534
ACCOUNTS = (("me", os.geteuid()), ("you", NOBODY))


@pytest.fixture
def base(tmp_path, monkeypatch):
    """The directory that XDG_CACHE_HOME names."""
    directory = tmp_path / "cache"
    directory.mkdir(mode=0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(directory))
    return directory


@pytest.fixture
def give_away(monkeypatch):
    """Give files to another user; a test that cannot becomes another user."""

    def give(*paths):
        if os.geteuid() == 0:
            for path in paths:
                os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
        else:
            monkeypatch.setattr(os, "geteuid", lambda: NOBODY)

    return give


def build(path):
    path.write_bytes(b"built")


def get():
    return cached("thing", build)


def test_what_is_cached_is_for_us_alone_whatever_umask_says(base):
    before = os.umask(0)
    try:
        path = get()
    finally:
        os.umask(before)
    assert path.read_bytes() == b"built"
    assert cache_root().stat().st_mode & 0o777 == 0o700
    assert [entry.stat().st_mode & 0o077 for entry in cache_root().iterdir()] == [0, 0, 0]
    assert get() == path


def test_directories_that_are_missing_are_made_private(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a" / "b"))
    before = os.umask(0)
    try:
        get()
    finally:
        os.umask(before)
    for name in ("a", "a/b", "a/b/mcp_tunnels.stack"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o700


def test_a_directory_that_was_readable_becomes_private(base):
    cache_root().mkdir(mode=0o755)
    get()
    assert cache_root().stat().st_mode & 0o777 == 0o700


def plant(path):
    """Write a file with the name that the cache looks for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"hostile")


def test_the_directory_of_another_user_is_refused(base, give_away):
    plant(cache_root() / "thing")
    give_away(cache_root())
    with pytest.raises(TunnelError, match="belongs to the user with ID") as caught:
        get()
    assert caught.value.subject == str(cache_root())
    assert "XDG_CACHE_HOME" in caught.value.remedy


@pytest.mark.parametrize("mode", [0o757, 0o777, 0o1777])
def test_a_directory_that_others_can_write_is_refused(base, mode):
    plant(cache_root() / "thing")
    cache_root().chmod(mode)
    with pytest.raises(TunnelError, match=r"mcp_tunnels\.stack can be written by other users"):
        get()


@pytest.mark.parametrize("mode", [0o757, 0o777])
def test_a_directory_above_that_others_can_write_is_refused(base, mode):
    base.chmod(mode)
    with pytest.raises(TunnelError, match=f"{base} can be written by other users"):
        get()
    assert list(base.iterdir()) == []


@pytest.mark.parametrize(
    ("group", "members", "others", "ours"),
    [
        ("me", [], [], True),
        ("me", ["me"], [], True),
        ("staff", [], [], False),
        ("me", ["you"], [], False),
        ("me", [], ["you"], False),
    ],
)
def test_a_group_may_write_above_if_nobody_else_is_in_it(
    base, monkeypatch, group, members, others, ours
):
    gid = 4242
    me, you = (SimpleNamespace(pw_name=name, pw_gid=gid, pw_uid=uid) for name, uid in ACCOUNTS)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: me)
    monkeypatch.setattr("pwd.getpwall", lambda: [me, *[you] * len(others)])
    monkeypatch.setattr("grp.getgrgid", lambda gid: SimpleNamespace(gr_name=group, gr_mem=members))
    status = os.stat_result((0o040775, 0, 0, 0, os.geteuid(), gid, 0, 0, 0, 0))
    assert private_path.others_write(status) is not ours


def test_a_group_without_a_name_is_somebodys(monkeypatch):
    monkeypatch.setattr("grp.getgrgid", {}.__getitem__)
    status = os.stat_result((0o040775, 0, 0, 0, os.geteuid(), 4242, 0, 0, 0, 0))
    assert private_path.others_write(status)


def test_the_group_of_root_may_write_above(base):
    status = os.stat_result((0o040775, 0, 0, 0, os.geteuid(), 0, 0, 0, 0, 0))
    assert not private_path.others_write(status)


def test_a_directory_above_that_is_sticky_is_as_good_as_tmp(base):
    base.chmod(0o1777)
    assert get().read_bytes() == b"built"


def test_a_directory_above_of_another_user_is_refused(base, give_away):
    cache_root().mkdir()
    give_away(base)
    with pytest.raises(TunnelError, match=f"{base} belongs to the user with ID"):
        get()


def test_links_are_followed_and_looked_at_themselves(tmp_path, monkeypatch, give_away):
    (tmp_path / "real").mkdir(mode=0o755)
    (tmp_path / "link").symlink_to("real")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "link"))
    assert get() == tmp_path / "real" / "mcp_tunnels.stack" / "thing"
    give_away(tmp_path / "link")
    with pytest.raises(TunnelError, match="link belongs to the user with ID"):
        get()


def test_what_a_link_leads_through_is_looked_at(tmp_path, monkeypatch):
    (tmp_path / "open" / "deep").mkdir(parents=True)
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path / "open" / "deep")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "link"))
    with pytest.raises(TunnelError, match="open can be written by other users"):
        get()


def test_a_loop_of_links_ends(tmp_path, monkeypatch):
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "loop"))
    with pytest.raises(TunnelError, match="too many symbolic links"):
        get()


def test_a_file_of_another_user_is_refused(base, give_away):
    path = get()
    give_away(path)
    with pytest.raises(TunnelError, match="thing: belongs to the user with ID") as caught:
        private_path.is_private_file(path)
    assert "remove it" in caught.value.remedy


def test_a_file_that_others_can_write_is_refused(base):
    get().chmod(0o646)
    with pytest.raises(TunnelError, match="thing: can be written by other users"):
        get()


@pytest.mark.parametrize("name", ["thing", "thing.lock", "thing.sha256"])
def test_a_link_in_place_of_a_file_is_refused(base, tmp_path, name):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    cache_root().mkdir(mode=0o700)
    (cache_root() / name).symlink_to(victim)
    with pytest.raises(TunnelError, match=f"{name}: is not a plain file"):
        get()
    assert victim.read_text() == "precious"


def test_a_pipe_in_place_of_a_file_is_refused_at_once(base):
    cache_root().mkdir(mode=0o700)
    os.mkfifo(cache_root() / "thing.lock")
    with pytest.raises(TunnelError, match="is not a plain file"):
        get()


def test_a_file_that_is_not_what_was_built_is_built_anew(base):
    get().write_bytes(b"changed")
    assert get().read_bytes() == b"built"


def test_a_file_that_nobody_recorded_is_built_anew(base):
    plant(cache_root() / "thing")
    assert get().read_bytes() == b"built"


def test_a_file_that_is_not_what_is_pinned_is_built_anew(base):
    plant(cache_root() / "thing")
    path = cached("thing", build, lambda path: path.read_bytes() == b"built")
    assert path.read_bytes() == b"built"


@pytest.mark.parametrize("name", ["../thing", "/tmp/thing", "a/b", "..", ".", "", ".building-x"])
def test_a_name_with_a_way_in_it_is_refused(base, name):
    with pytest.raises(ValueError, match="is not the name of a file"):
        cached(name, build)
    assert list(base.iterdir()) == []


def test_a_build_that_is_killed_leaves_nothing_that_is_used(base):
    script = (
        "import os, sys\n"
        f"sys.path[:0] = {sys.path!r}\n"
        "from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller.cache "
        "import cached\n"
        "def build(path):\n"
        "    path.write_bytes(b'half')\n"
        "    os.kill(os.getpid(), 9)\n"
        "cached('thing', build)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert killed.returncode == -9, killed.stderr
    assert get().read_bytes() == b"built"


def test_a_home_that_cannot_be_written_is_named_with_what_to_do(tmp_path, monkeypatch):
    """Nobody can make a directory below /proc, not even root."""
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/proc")
    with pytest.raises(TunnelError, match="cannot be used as a cache") as caught:
        get()
    assert caught.value.subject == "/proc/.cache/mcp_tunnels.stack"
    assert "XDG_CACHE_HOME" in caught.value.remedy


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_cache_without_room_or_right_is_named_with_what_to_do(base, number):
    def build(path):
        raise OSError(number, os.strerror(number), str(path))

    with pytest.raises(TunnelError, match=os.strerror(number)) as caught:
        cached("thing", build)
    assert "XDG_CACHE_HOME" in caught.value.remedy


def test_an_error_about_something_else_stays_what_it_is(base):
    def build(_path):
        raise PermissionError(errno.EACCES, "Permission denied", "/srv/cloudflared")

    with pytest.raises(PermissionError, match="/srv/cloudflared"):
        cached("thing", build)


def test_a_user_without_a_home(monkeypatch):
    """An execution environment with a user ID of its own has such a user."""
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(TunnelError, match="this user has no home directory") as caught:
        get()
    assert "XDG_CACHE_HOME" in caught.value.remedy


def test_a_cache_behind_a_link_that_cannot_be_written_is_named_as_well(tmp_path, monkeypatch):
    """The operating system names the target of the link."""
    (tmp_path / "cache").symlink_to("/proc")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(TunnelError, match="cannot be used as a cache") as caught:
        get()
    assert caught.value.subject == str(cache_root())
    assert "/proc/mcp_tunnels.stack" in caught.value.problem
