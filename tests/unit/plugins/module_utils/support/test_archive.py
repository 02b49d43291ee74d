"""The archive: complete or honest about it, bounded, and without a secret."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import tarfile
import time

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.support import (
    archive,
    bounded,
    redaction,
    secrets,
    sources,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.tokens import make_token

TOKEN = make_token()


@pytest.fixture
def known(tmp_path):
    directory = tmp_path / "host"
    directory.mkdir()
    (directory / "tunnel-token").write_text(TOKEN)
    return secrets.known([directory])


def source(name, content, how="somehow"):
    """Return a source that has this content, or whose reading raises it."""

    def read(_seconds):
        if isinstance(content, Exception):
            raise content
        return sources.Content(content)

    return sources.Source(name, how, read)


def unpacked(made):
    with tarfile.open(fileobj=io.BytesIO(made.content)) as packed:
        members = {member.name: member for member in packed}
        contents = {name: packed.extractfile(name).read() for name in members}
    assert {(m.mode, m.uid, m.isfile()) for m in members.values()} == {(0o600, 0, True)}
    assert {name.split("/")[0] for name in members} == {made.name}
    return {name.partition("/")[2]: content for name, content in contents.items()}


def test_what_is_in_it_and_what_the_manifest_says(known):
    wanted = [source("a/b.txt", b"text\n", "cat b"), source("c", sources.LeftOut("it is gone"))]
    made = archive.make(["default"], wanted, known)
    files = unpacked(made)
    manifest = json.loads(files.pop("manifest.json"))
    assert files == {"a/b.txt": b"text\n"}
    assert manifest["files"] == [
        {
            "name": "a/b.txt",
            "how": "cat b",
            "size": 5,
            "sha256": hashlib.sha256(b"text\n").hexdigest(),
        }
    ]
    assert manifest["left_out"] == [{"name": "c", "how": "somehow", "why": "it is gone"}]
    assert manifest["instances"] == ["default"]
    assert manifest["secrets"] == made.secrets == []
    (name,) = manifest["searched_for"]
    assert name.startswith("the tunnel token in ")
    assert TOKEN.encode() not in files


def test_a_file_with_a_secret_is_left_out_and_named(known):
    wanted = [
        source("journal.txt", f"2026 x[1]: token {TOKEN} refused\n".encode()),
        source("error.txt", sources.LeftOut(f"it said {TOKEN}")),
        source("good.txt", b"good\n"),
    ]
    made = archive.make(["default"], wanted, known)
    files = unpacked(made)
    assert sorted(files) == ["good.txt", "manifest.json"]
    assert made.secrets == ["journal.txt"]
    manifest = json.loads(files["manifest.json"])
    assert manifest["secrets"] == ["journal.txt"]
    whys = {item["name"]: item["why"] for item in manifest["left_out"]}
    assert whys["journal.txt"].startswith("it holds the tunnel token in ")
    assert whys["error.txt"] == "the reason holds a secret itself"
    assert TOKEN.encode() not in b"".join(files.values())


FOREIGN = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJ4IiwiZXhwIjoxfQ.c2lnbmF0dXJl"


def test_text_in_the_form_of_a_secret_costs_its_lines_and_no_file(known):
    """Anybody could keep a journal out of the archive otherwise, with a request that is logged."""
    lines = [f"2026-11-29T05:01:12.123456+0000 host x[1]: line {n}\n" for n in range(9)]
    lines[4] = f"2026-11-29T05:01:13.123456+0000 host x[1]: path /?q={FOREIGN}&r=1\n"
    made = archive.make(["default"], [source("journal.txt", "".join(lines).encode())], known)
    files = unpacked(made)
    content = files["journal.txt"].decode().splitlines(keepends=True)
    assert content[:4] + content[5:] == lines[:4] + lines[5:]
    assert content[4].startswith("2026-11-29T05:01:13.123456+0000 (blanked: ")
    manifest = json.loads(files["manifest.json"])
    assert manifest["blanked"] == [{"name": "journal.txt", "lines": 1}]
    assert made.blanked == {"journal.txt": 1}
    assert (manifest["secrets"], manifest["left_out"]) == ([], [])
    (entry,) = manifest["files"]
    assert entry["note"].startswith("1 lines blanked, which held something in the form of a key")
    assert entry["sha256"] == hashlib.sha256(files["journal.txt"]).hexdigest()
    assert b"eyJ" not in b"".join(files.values())


def test_a_secret_of_the_host_beside_such_text_still_costs_the_file(known):
    content = f"{FOREIGN}\nx\n{TOKEN}\n".encode()
    made = archive.make(["default"], [source("journal.txt", content)], known)
    assert (made.secrets, made.blanked) == (["journal.txt"], {})


def test_a_secret_that_a_name_or_the_manifest_holds_stops_everything(known):
    with pytest.raises(TunnelError, match=r"holds a secret in .* and was not written"):
        archive.make(["default"], [source(f"x/{TOKEN}.txt", b"good")], known)
    with pytest.raises(TunnelError, match=r"holds a secret in .*manifest\.json"):
        archive.make(["default"], [source("x", b"good", how=f"cat {TOKEN}")], known)


def test_a_reason_is_as_short_as_the_controller_takes_it(known):
    """A program may end with a line of a megabyte."""
    wanted = [source("x", sources.LeftOut("\x1b" * 100_000))]
    (left,) = archive.make(["default"], wanted, known).manifest["left_out"]
    assert left["why"] == ("\\x1b" * 250)


def test_it_has_an_upper_size(known, monkeypatch):
    monkeypatch.setattr(archive, "MOST", 100)
    wanted = [source("small", b"x" * 60), source("large", b"x" * 60), source("tiny", b"x" * 40)]
    made = archive.make(["default"], wanted, known)
    assert sorted(unpacked(made)) == ["manifest.json", "small", "tiny"]
    (left,) = made.manifest["left_out"]
    assert (left["name"], left["why"]) == (
        "large",
        "the archive would become larger than 100 bytes",
    )


def test_bytes_that_cannot_be_packed_fit_into_what_the_controller_takes(known):
    """A tenth of the most that an archive may hold, because the search takes its time."""
    noise = os.urandom(archive.MOST // 10)
    made = archive.make(["default"], [source("noise", noise)], known)
    assert len(noise) < len(made.content) <= archive.MOST_PACKED // 10


def test_it_has_an_upper_time(known, monkeypatch):
    monkeypatch.setattr(archive, "_SECONDS", 0.0)
    made = archive.make(["default"], [source("late", b"x")], known)
    assert [item["name"] for item in made.manifest["left_out"]] == ["late"]
    assert "seconds for all files are over" in made.manifest["left_out"][0]["why"]


def test_it_is_stored_for_root_alone_and_replaces_no_link(known, tmp_path):
    made = archive.make(["default"], [source("a", b"x")], known)
    target = tmp_path / "target"
    target.write_text("of somebody else")
    (tmp_path / f"{made.name}.tar.gz").symlink_to(target)
    path = archive.store(made, str(tmp_path))
    assert stat.S_IMODE(os.lstat(path).st_mode) == 0o600
    assert stat.S_ISREG(os.lstat(path).st_mode)
    assert target.read_text() == "of somebody else"
    with pytest.raises(TunnelError, match="is no directory"):
        archive.store(made, str(tmp_path / "nothing"))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("api_token: abc", "api_token: (redacted)"),
        ('Environment="MY_SECRET=abc def" "LANG=C"', 'Environment="MY_SECRET=(redacted)" "LANG=C"'),
        ("Environment=PASSWORD=abc", "Environment=PASSWORD=(redacted)"),
        ('"password": "abc"', '"password": "(redacted)"'),
        ("Authorization: Bearer abc", "Authorization: (redacted)"),
        ("HTTPS_PROXY=http://me:abc@proxy:3128/", "HTTPS_PROXY=http://(redacted)@proxy:3128/"),
        ("SetCredential=tunnel-token:abc", "SetCredential=(redacted)"),
        (f"{'a' * 100}_TOKEN_OF_X=abc", f"{'a' * 100}_TOKEN_OF_X=(redacted)"),
        ("Environment=API_SECRET=/aB3d==", "Environment=API_SECRET=(redacted)"),
        ("PASSWORD=#abc", "PASSWORD=(redacted)"),
        ("SMTP_PASSWORD=abc#def", "SMTP_PASSWORD=(redacted)"),
        ('Environment="PASSWORD=my pass=word" "A=1"', 'Environment="PASSWORD=(redacted)" "A=1"'),
        ("DB_PASSWORD=p'q'rest", "DB_PASSWORD=(redacted)"),
        ("DB_PASSWORD='p'rest", "DB_PASSWORD='(redacted)"),
        (r'PASSWORD="a\"b" C=1', 'PASSWORD="(redacted)" C=1'),
        ("SetCredential=x:abc\\\n  def", "SetCredential=(redacted)"),
        ("ExecStart=/bin/x --password hunter2", "ExecStart=/bin/x --password (redacted)"),
        ("x=http://me:p@ss@proxy:3128/", "x=http://(redacted)@proxy:3128/"),
        ("x=http://me:p/w@proxy:3128/", "x=http://(redacted)@proxy:3128/"),
        ('{"token": "abc", "port": 1}', '{"token": "(redacted)", "port": 1}'),
    ],
)
def test_configuration_without_secrets(before, after):
    assert redaction.redacted(f"x: 1\n  {before}\n") == (f"x: 1\n  {after}\n", 1)


@pytest.mark.parametrize(
    "line",
    [
        "LoadCredential=tunnel-token:/etc/mcp-tunnel/default/tunnel-token",
        "ExecStart=cloudflared run --token-file ${CREDENTIALS_DIRECTORY}/tunnel-token --url x",
        "key_file: /etc/mcp-tunnel/default/tls/tls.key",
        "Environment=API_TOKEN_FILE=/etc/token",
        "echo: http://10.77.0.2:8000",
        "tunnel_domain: abcd1234.tunnel.example",
        "KeyringMode=private",
    ],
)
def test_configuration_that_says_no_secret_stays(line):
    assert redaction.redacted(f"{line}\n") == (f"{line}\n", 0)


def test_a_long_line_takes_no_time_to_speak_of():
    """Read from each of its places to its end, it would take hours."""
    line = "token" * 20_000 + "a-" * 100_000 + "\n"
    assert redaction.redacted(line) == (line, 0)


def test_a_program_ends_within_its_time_with_all_its_children(tmp_path):
    mark = tmp_path / "pid"
    command = ["sh", "-c", f"sleep 600 & echo $! >{mark}; echo before; wait"]
    done = bounded.run(command, 5, 1000)
    assert done.output == b"before\n"
    assert "has not ended within" in done.problem
    pid = int(mark.read_text())
    for _attempt in range(2400):
        try:
            state = (
                (tmp_path.__class__(f"/proc/{pid}/stat")).read_text().rpartition(")")[2].split()[0]
            )
        except OSError:
            break
        if state == "Z":
            break
        time.sleep(0.05)
    else:
        raise AssertionError("its child still runs")


def test_a_program_that_closes_its_output_and_goes_on_is_ended():
    done = bounded.run(["sh", "-c", "echo x; exec >&- 2>&-; exec sleep 600"], 5, 100)
    assert (done.output, done.status) == (b"x\n", None)
    assert "has not ended within" in done.problem


def test_a_program_that_never_stops_writing_is_cut():
    done = bounded.run(["yes"], 60, 5000)
    assert done.cut
    assert done.output == b"y\n" * 2500
    assert done.problem == ""


def test_programs_that_fail_or_are_not_there():
    assert bounded.run(["sh", "-c", "echo why >&2; exit 3"], 60, 100) == bounded.Done(b"why\n", 3)
    assert "No such file" in bounded.run(["/nonexistent/program"], 60, 100).problem


def test_a_journal_that_is_too_long_loses_its_oldest_lines(monkeypatch):
    monkeypatch.setattr(sources, "_MOST", 26)
    lines = "".join(f"line {number}\\n" for number in reversed(range(9)))
    content = sources._read_newest(["printf", lines], (0,), 60)
    assert content.data == b"line 6\nline 7\nline 8\n"
    assert content.note == "the newest 26 bytes"
    monkeypatch.undo()
    content = sources._read_newest(["printf", lines], (0,), 60)
    assert content.data.startswith(b"line 0\nline 1\n")
    with pytest.raises(sources.LeftOut, match="there are no lines"):
        sources._read_newest(["false"], (0, 1), 60)


def test_an_error_of_journalctl_is_no_line_of_a_journal():
    """A pattern that no unit has is such an error."""
    command = ["sh", "-c", "echo Failed to add filter >&2; exit 1"]
    with pytest.raises(sources.LeftOut, match="status 1: Failed to add filter"):
        sources._read_newest(command, (0,), 60)


def test_every_source_has_a_name_of_its_own_that_leads_nowhere_else():
    names = [each.name for each in sources.sources(["default", "second"])]
    assert len(names) == len(set(names))
    assert len(names) > 50
    for name in names:
        assert not name.startswith("/")
        assert ".." not in name.split("/")


def test_only_our_own_files_are_redacted(tmp_path):
    path = tmp_path / "nsswitch.conf"
    path.write_text("passwd: files systemd\n")
    assert sources._file("x", path, is_ours=False).read(60) == sources.Content(path.read_bytes())
    path.write_text("api_token: abc\n")
    cleaned = sources.Content(b"api_token: (redacted)\n", "1 values redacted")
    assert sources._file("x", path).read(60) == cleaned


def test_a_source_that_is_not_there_says_so(tmp_path):
    with pytest.raises(sources.LeftOut, match="No such file"):
        sources._file("x", tmp_path / "nothing").read(60)
    with pytest.raises(sources.LeftOut, match="status 3: why"):
        sources._program("x", ["sh", "-c", "echo why; exit 3"]).read(60)
    with pytest.raises(sources.LeftOut, match="has no /diag/system"):
        _page_of(404)
    with pytest.raises(sources.LeftOut, match="does not answer: Connection refused"):
        _page_of(0)
    assert _page_of(503).note == "HTTP 503"


def _page_of(status):
    with pytest.MonkeyPatch.context() as patch:
        answer = (status, "Connection refused" if not status else "body")
        patch.setattr(sources.loopback, "get", lambda *_arguments: answer)
        return sources._page("x", lambda: 1, "/diag/system", "unit").read(60)
