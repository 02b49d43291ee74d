from __future__ import annotations

import grp
import os
import pwd
import stat
import threading

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import file_entries
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.fakes import (
    stand_in_creds,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.modules import (
    ensured,
    kill_everywhere,
    refused,
    run_module,
)

SECRET = "planted-secret-content\nof two lines\n"
ACCOUNT = {
    "owner": pwd.getpwuid(os.geteuid()).pw_name,
    "group": grp.getgrgid(os.getegid()).gr_name,
}


def file(path, content="hello\n", mode="0640", **more):
    return {"path": str(path), "content": content, "mode": mode, **ACCOUNT, **more}


def secret(path, content=SECRET, mode="0600", **more):
    return {"path": str(path), "secret_content": content, "mode": mode, **ACCOUNT, **more}


def directory(path, mode="0755", **more):
    return {"path": str(path), "state": "directory", "mode": mode, **ACCOUNT, **more}


def link(path, target):
    return {"path": str(path), "state": "link", "target": target}


def absent(path):
    return {"path": str(path), "state": "absent"}


def mode_of(path):
    return stat.S_IMODE(os.lstat(path).st_mode)


def test_a_set_of_everything(tmp_path):
    (tmp_path / "old").write_text("x")
    (tmp_path / "tree" / "deep").mkdir(parents=True)
    (tmp_path / "tree" / "deep" / "file").write_text("x")
    etc = tmp_path / "etc"
    entries = [
        directory(etc, "0750"),
        file(etc / "config", "ä = 1\n"),
        secret(etc / "token"),
        link(etc / "current", "1.0"),
        absent(tmp_path / "old"),
        absent(tmp_path / "tree"),
        absent(tmp_path / "never"),
    ]
    result = ensured("file_set", entries=entries)
    assert result["changed_paths"] == [entry["path"] for entry in entries[:-1]]
    assert (etc / "config").read_text() == "ä = 1\n"
    assert (etc / "token").read_text() == SECRET
    assert os.readlink(etc / "current") == "1.0"
    assert [mode_of(etc), mode_of(etc / "config"), mode_of(etc / "token")] == [0o750, 0o640, 0o600]
    assert os.listdir(tmp_path) == ["etc"]
    assert sorted(os.listdir(etc)) == ["config", "current", "token"]

    again = ensured("file_set", entries=entries)
    assert (again["changed"], again["changed_paths"], again["diff"]) == (False, [], [])


def test_only_what_differs_is_changed(tmp_path):
    entries = [file(tmp_path / "a"), file(tmp_path / "b"), secret(tmp_path / "c")]
    ensured("file_set", entries=entries)
    inode = (tmp_path / "a").stat().st_ino
    entries[1]["content"] = "other\n"
    (tmp_path / "c").chmod(0o644)
    assert ensured("file_set", entries=entries)["changed_paths"] == [
        str(tmp_path / "b"),
        str(tmp_path / "c"),
    ]
    assert (tmp_path / "a").stat().st_ino == inode
    assert mode_of(tmp_path / "c") == 0o600


def test_diffs(tmp_path):
    (tmp_path / "a").write_text("old\n")
    (tmp_path / "a").chmod(0o640)
    (tmp_path / "s").write_text("old planted secret")
    (tmp_path / "s").chmod(0o600)
    entries = [file(tmp_path / "a", "new\n"), secret(tmp_path / "s"), file(tmp_path / "b")]
    (content, hidden, new_content, new_facts) = ensured("file_set", entries=entries)["diff"]
    assert content["before_header"] == str(tmp_path / "a")
    assert (content["before"], content["after"]) == ("old\n", "new\n")
    assert hidden["before"]["content"] != hidden["after"]["content"]
    assert (new_content["before"], new_content["after"]) == ("", "hello\n")
    assert new_facts["before"] == {"state": "absent"}
    assert new_facts["after"]["mode"] == "0640"


def test_a_link_is_replaced_and_not_followed(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (tmp_path / "config").symlink_to(precious)
    (tmp_path / "token").symlink_to(tmp_path / "nowhere")
    entries = [file(tmp_path / "config"), secret(tmp_path / "token")]
    result = ensured("file_set", entries=entries)
    assert len(result["changed_paths"]) == 2
    assert precious.read_text() == "precious"
    assert not (tmp_path / "config").is_symlink()
    assert not (tmp_path / "nowhere").exists()
    # The link's target was public, but the file behind it is not ours to show.
    assert "precious" not in str(
        [diff["before"] for diff in result["diff"] if isinstance(diff["before"], str)]
    )


def test_a_link_to_a_directory_can_go_and_the_directory_stays(tmp_path):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "tree")
    ensured("file_set", entries=[absent(tmp_path / "link")])
    assert (tmp_path / "tree" / "file").exists()


def test_a_directory_goes_when_the_last_that_was_in_it_has_gone(tmp_path):
    (tmp_path / "states/one").mkdir(parents=True)
    (tmp_path / "states/two").mkdir()
    parent = {**absent(tmp_path / "states"), "only_empty": True}
    done = ensured("file_set", entries=[absent(tmp_path / "states/one"), parent])
    assert done["changed_paths"] == [str(tmp_path / "states/one")]
    done = ensured("file_set", entries=[absent(tmp_path / "states/two"), parent])
    assert done["changed_paths"] == [str(tmp_path / "states/two"), str(tmp_path / "states")]
    assert not (tmp_path / "states").exists()
    assert not ensured("file_set", entries=[parent])["changed"]


def test_what_is_no_empty_directory_of_ours_stays(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 4711, 4711)
    names = ("file", "link", "theirs")
    done = ensured(
        "file_set", entries=[{**absent(tmp_path / name), "only_empty": True} for name in names]
    )
    assert done["changed_paths"] == []
    assert all((tmp_path / name).exists() for name in names)


@pytest.mark.parametrize("make", ["write_text", "mkdir"])
def test_what_is_in_the_way_of_a_link_is_kept_under_another_name(tmp_path, make):
    path = tmp_path / "unit.service"
    (tmp_path / "unit.service.~1~").write_text("an earlier one")
    getattr(path, make)(*(["[Service]\n"] if make == "write_text" else []))
    entry = {**link(path, "/dev/null"), "backup": True}
    assert run_module("file_set", check=True, entries=[entry]).changed
    assert not path.is_symlink()
    assert ensured("file_set", entries=[entry])["changed_paths"] == [str(path)]
    assert os.readlink(path) == "/dev/null"
    kept = tmp_path / "unit.service.~2~"
    assert kept.is_dir() if make == "mkdir" else kept.read_text() == "[Service]\n"
    assert not ensured("file_set", entries=[entry])["changed"]
    assert len(os.listdir(tmp_path)) == 3


def test_a_link_that_is_in_the_way_of_another_is_replaced(tmp_path):
    (tmp_path / "unit.service").symlink_to("/elsewhere")
    ensured("file_set", entries=[{**link(tmp_path / "unit.service", "/dev/null"), "backup": True}])
    assert os.listdir(tmp_path) == ["unit.service"]


def test_links_move_in_one_step(tmp_path):
    ensured("file_set", entries=[link(tmp_path / "current", "1.0")])
    seen, stop = set(), threading.Event()

    def watch():
        while not stop.is_set():
            seen.add(os.readlink(tmp_path / "current"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    for version in ("1.1", "1.2", "1.3"):
        ensured("file_set", entries=[link(tmp_path / "current", version)])
    stop.set()
    watcher.join()
    assert seen <= {"1.0", "1.1", "1.2", "1.3"}


@pytest.mark.parametrize(
    ("make", "wanted", "problem"),
    [
        ("directory", file, "is a directory and shall become a file"),
        ("directory", lambda path: link(path, "x"), "is a directory and shall become a link"),
        ("file", directory, "is a file and shall become a directory"),
        ("file", lambda path: link(path, "x"), "is a file and shall become a link"),
        ("link", directory, "is a link and shall become a directory"),
        ("fifo", file, "is a special file and shall become a file"),
        ("fifo", absent, "is a special file and shall be removed"),
    ],
)
def test_what_stands_in_the_way(tmp_path, make, wanted, problem):
    path = tmp_path / "entry"
    {
        "directory": path.mkdir,
        "file": lambda: path.write_text("x"),
        "link": lambda: path.symlink_to(tmp_path),
        "fifo": lambda: os.mkfifo(path),
    }[make]()
    for check in (True, False):
        entries = [file(tmp_path / "first"), wanted(path)]
        message = refused("file_set", check=check, entries=entries)
        assert f"{path}: {problem}" in message
    assert not (tmp_path / "first").exists()


def test_all_is_checked_before_anything_is_written(tmp_path):
    first = file(tmp_path / "first")
    for wrong, problem in (
        (file(tmp_path / "x", mode="640"), "mode '640' is not four octal digits"),
        (file(tmp_path / "x", mode="416"), "mode '416' is not four octal digits"),
        (file(tmp_path / "x", mode="u=rw"), "is not four octal digits"),
        (file(tmp_path / "x", owner="no-such-user"), "there is no user 'no-such-user'"),
        (file(tmp_path / "x", group="no-such-group"), "there is no group 'no-such-group'"),
        (file(tmp_path / "no" / "x"), f"its directory {tmp_path}/no does not exist"),
        (file("relative"), "relative: is not an absolute path"),
        (absent("/"), "/: is not an absolute path below /"),
        (file(tmp_path / "first"), "is listed twice"),
        ({"path": str(tmp_path / "x"), "mode": "0644"}, "content, secret_content"),
        ({"path": str(tmp_path / "x"), "content": "x"}, "mode"),
        ({"path": str(tmp_path / "x"), "state": "link"}, "target"),
        (file(tmp_path / "x", secret_content=SECRET), "mutually exclusive"),
    ):
        assert problem in refused("file_set", entries=[first, wrong])
    assert os.listdir(tmp_path) == []


def test_check_mode_on_a_bare_host(tmp_path):
    """An earlier task makes the users; an earlier entry or task makes the directories."""
    entries = [
        directory(tmp_path / "etc", owner="not-yet", group="not-yet"),
        file(tmp_path / "etc" / "a", owner="not-yet", group="not-yet"),
        secret(tmp_path / "other" / "b"),
        link(tmp_path / "other" / "c", "d"),
        absent(tmp_path / "none" / "d"),
    ]
    outcome = run_module("file_set", check=True, entries=entries)
    assert outcome.result["changed_paths"] == [entry["path"] for entry in entries[:-1]]
    assert os.listdir(tmp_path) == []


def test_a_file_where_a_parent_should_be(tmp_path):
    (tmp_path / "file").write_text("x")
    message = refused("file_set", entries=[file(tmp_path / "file" / "x")])
    assert f"its directory {tmp_path}/file does not exist" in message


def test_owners(tmp_path):
    """The test needs root, as the module does for such entries."""
    entries = [
        directory(tmp_path / "d", owner="daemon", group="daemon"),
        file(tmp_path / "d" / "f", owner="nobody", group="1234"),
    ]
    ensured("file_set", entries=entries)
    status = (tmp_path / "d" / "f").stat()
    assert (status.st_uid, status.st_gid) == (pwd.getpwnam("nobody").pw_uid, 1234)
    assert (tmp_path / "d").owner() == "daemon"
    assert not ensured("file_set", entries=entries)["changed"]


def test_no_secret_comes_out(tmp_path):
    (tmp_path / "b").write_text("old planted secret")
    attempts = [
        [secret(tmp_path / "a"), secret(tmp_path / "b")],
        [secret(tmp_path / "a", SECRET + "more"), secret(tmp_path / "no" / "b")],
        [secret(tmp_path / "a", mode="600")],
        [secret(tmp_path / "a", "single-planted-line")],
    ]
    for entries in attempts:
        for check in (True, False):
            outcome = run_module("file_set", check=check, entries=entries)
            for planted in ("planted", "two lines", "more"):
                assert planted not in outcome.everything


def test_leftovers_of_killed_runs_are_removed(tmp_path):
    finished = os.fork()
    if finished == 0:
        os._exit(0)
    os.waitpid(finished, 0)
    leftover = tmp_path / f".token.{finished}.mcp-tunnel"
    running = tmp_path / f".token.{os.getppid()}.mcp-tunnel"
    for path in (leftover, running):
        path.write_text("half a secr")
    ensured("file_set", entries=[secret(tmp_path / "token")])
    # The other file belongs to a run that is at work on the same file now.
    assert sorted(os.listdir(tmp_path)) == sorted([running.name, "token"])
    leftover.write_text("half a secr")
    ensured("file_set", entries=[secret(tmp_path / "token")])
    assert not leftover.exists()


def test_many_writers_of_one_file(tmp_path):
    """Several instances on a machine write its shared files at the same time."""
    contents = [f"{number}" * 100_000 for number in range(4)]
    children = []
    for content in contents:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                for _round in range(5):
                    outcome = run_module("file_set", entries=[file(tmp_path / "shared", content)])
                    assert not outcome.failed, outcome.message
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    for child in children:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (tmp_path / "shared").read_text() in contents
    assert os.listdir(tmp_path) == ["shared"]


def test_a_run_killed_anywhere_is_completed(tmp_path):
    hosts = []

    def entries():
        root = hosts[-1]
        return [
            directory(root / "etc"),
            file(root / "etc" / "config", "new\n"),
            secret(root / "etc" / "token"),
            link(root / "etc" / "current", "2.0"),
            absent(root / "old"),
        ]

    def prepare():
        root = tmp_path / f"host{len(hosts)}"
        hosts.append(root)
        (root / "etc").mkdir(parents=True)
        (root / "old" / "deep").mkdir(parents=True)
        (root / "old" / "deep" / "file").write_text("x")
        (root / "etc" / "config").write_text("old\n")
        (root / "etc" / "config").chmod(0o640)
        (root / "etc" / "current").symlink_to("1.0")

    def attempt():
        assert not run_module("file_set", entries=entries()).failed

    def check(_step):
        etc = hosts[-1] / "etc"
        assert (etc / "config").read_text() in ("old\n", "new\n")
        # Its service can read it at any moment, as the permissions come before the rename.
        assert mode_of(etc / "config") == 0o640
        assert os.readlink(etc / "current") in ("1.0", "2.0")
        if (etc / "token").exists():
            assert (etc / "token").read_text() == SECRET
        for entry in os.scandir(etc):
            if "token" in entry.name:
                assert mode_of(entry.path) == 0o600
        ensured("file_set", entries=entries())
        assert sorted(os.listdir(etc)) == ["config", "current", "token"]
        assert not (hosts[-1] / "old").exists()
        assert not ensured("file_set", entries=entries())["changed"]

    assert kill_everywhere(prepare, attempt, check) > 12


def test_an_encrypted_secret_there_and_back(monkeypatch, tmp_path):
    log = stand_in_creds.install(monkeypatch, tmp_path / "bin")
    path = tmp_path / "tunnel-token"
    assert ensured("file_set", entries=[secret(path)])["changed"]
    for encryption in ("host", "none", "host"):
        entries = [secret(path, encryption=encryption)]
        before = path.read_bytes()
        predicted = run_module("file_set", check=True, entries=entries).result
        assert predicted["changed"]
        assert path.read_bytes() == before
        done = ensured("file_set", entries=entries)
        assert done["changed"]
        assert done["diff"] == predicted["diff"]
        assert done["diff"][0]["after"]["encryption"] == encryption
        assert (SECRET.encode() in path.read_bytes()) == (encryption == "none")
        assert mode_of(path) == 0o600
        now = path.read_bytes()
        assert not ensured("file_set", entries=entries)["changed"]
        assert path.read_bytes() == now
    assert os.listdir(tmp_path) in (["bin", "tunnel-token"], ["tunnel-token", "bin"])
    assert "planted" not in log.read_text()


def test_another_secret_and_a_damaged_one_are_replaced(monkeypatch, tmp_path):
    stand_in_creds.install(monkeypatch, tmp_path / "bin")
    path = tmp_path / "tunnel-token"
    ensured("file_set", entries=[secret(path, "the first secret", encryption="host")])
    done = ensured("file_set", entries=[secret(path, "the second secret", encryption="host")])
    assert done["changed"]
    assert done["diff"][0]["after"] == {
        **done["diff"][0]["before"],
        "content": "another secret, not shown",
    }
    damaged = bytearray(path.read_bytes())
    damaged[-6] ^= 1
    path.write_bytes(damaged)
    entries = [secret(path, "the second secret", encryption="host")]
    assert ensured("file_set", entries=entries)["changed"]
    assert not ensured("file_set", entries=entries)["changed"]


def test_a_host_that_cannot_encrypt_keeps_its_file(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    path = tmp_path / "tunnel-token"
    ensured("file_set", entries=[secret(path)])
    assert "systemd-creds cannot be run" in refused(
        "file_set", entries=[secret(path, encryption="host")]
    )
    assert path.read_text() == SECRET


@pytest.fixture
def sysusers(tmp_path, monkeypatch):
    """The directory of the declarations, and a systemd-sysusers that notes what it is given."""
    place = tmp_path / "sysusers.d"
    monkeypatch.setattr(file_entries, "SYSUSERS", str(place))
    tool = tmp_path / "bin" / "systemd-sysusers"
    tool.parent.mkdir()
    tool.write_text(
        f'#!/bin/sh\ncat "$@" >>{tmp_path}/made\n[ ! -e {tmp_path}/fails ] || '
        "{ echo 'no space left' >&2; exit 1; }\n"
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent), prepend=os.pathsep)
    return place


DECLARED = {"one": "u one -\n", "two": "u two -\n"}


def test_users_are_made_before_files_that_they_own(tmp_path, sysusers):
    wanted = file(tmp_path / "file")
    assert run_module("file_set", check=True, entries=[wanted], sysusers=DECLARED).changed
    assert not sysusers.exists()
    assert not (tmp_path / "made").exists()
    done = ensured("file_set", entries=[wanted], sysusers=DECLARED)
    declared = [str(sysusers / f"{name}.conf") for name in DECLARED]
    assert done["changed_paths"] == [str(sysusers), *declared, str(tmp_path / "file")]
    assert (tmp_path / "made").read_text() == "u one -\nu two -\n"
    assert [mode_of(path) for path in declared] == [0o644] * 2
    # A run that was killed between both has declared them already.
    assert ensured("file_set", entries=[wanted], sysusers=DECLARED)["changed"]
    assert (tmp_path / "made").read_text() == 2 * "u one -\nu two -\n"
    assert not ensured("file_set", entries=[wanted])["changed"]


def test_users_that_cannot_be_made_are_told_and_no_file_is_written(tmp_path, sysusers):
    (tmp_path / "fails").touch()
    message = refused("file_set", entries=[file(tmp_path / "file")], sysusers=DECLARED)
    assert "systemd-sysusers cannot make the users: no space left" in message
    assert str(sysusers / "one.conf") in message
    assert not (tmp_path / "file").exists()
