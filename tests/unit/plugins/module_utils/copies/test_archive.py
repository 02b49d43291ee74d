"""A copy of a state: what it has, and that a damaged or strange one is refused."""

from __future__ import annotations

import io
import tarfile

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.copies import archive, state
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import openssl
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.copies.states import (
    MADE_AT,
    TUNNEL_ID,
    fingerprint,
    make_files,
    packed,
    tar,
    write_files,
)


@pytest.fixture
def files(openssl_ca):
    """The files of a state directory."""
    return make_files(openssl_ca)


def test_everything_comes_back(tmp_path, files):
    found = state.read_state(str(write_files(tmp_path / "state", files)))
    about = archive.describe(found, "default", MADE_AT, "9.8.7")
    manifest, unpacked = archive.unpack(archive.pack(found, about), "copy")
    assert unpacked.files == files
    assert manifest == about
    assert (manifest.tunnel_id, manifest.domain) == (TUNNEL_ID, openssl.DOMAIN)
    assert manifest.ca_fingerprint == fingerprint(files["ca.crt"].decode())


def test_tar_unpacks_it(tmp_path, files):
    """Without this collection, somebody has to be able to."""
    found = state.State(files)
    content = archive.pack(found, archive.describe(found, "default", MADE_AT, "9.8.7"))
    with tarfile.open(fileobj=io.BytesIO(content)) as opened:
        names = opened.getnames()
        assert names[0] == "manifest.json"
        assert sorted(names[1:]) == sorted(f"state/{name}" for name in files)
        assert opened.extractfile("state/ca.key").read() == files["ca.key"]


def test_an_archive_made_elsewhere_is_taken(files):
    _manifest, found = archive.unpack(packed(files), "copy")
    assert found.files == files


def test_directories_half_written_files_and_the_record_are_left_out(tmp_path, files):
    path = write_files(tmp_path / "state", files)
    (path / ".ca.key.4711.mcp-tunnel").write_text("half")
    (path / "copies.json").write_text("{}")
    (path / "old").mkdir()
    assert state.read_state(str(path)).files == files


@pytest.mark.parametrize("size", [state.MOST_BYTES, 200 << 20])
def test_a_state_that_is_too_large(tmp_path, files, size):
    path = write_files(tmp_path / "state", files)
    with (path / "large").open("wb") as file:
        file.truncate(size)
    with pytest.raises(TunnelError, match="KiB in them, so no copy of it can be made"):
        state.read_state(str(path))


def test_a_link_is_not_followed(tmp_path, files):
    path = write_files(tmp_path / "state", files)
    (path / "link").symlink_to("/etc/shadow")
    with pytest.raises(TunnelError, match="is not a regular file"):
        state.read_state(str(path))


def test_the_fingerprint_is_that_of_what_lasts(files):
    before = state.State(files).fingerprint()
    later = files["replicas.json"].replace(b"2026-11-01", b"2026-11-29")
    assert later != files["replicas.json"]
    assert state.State({**files, "replicas.json": later}).fingerprint() == before
    for name, content in files.items():
        changed = {**files, name: content + b"#"}
        assert state.State(changed).fingerprint() != before, name
        assert state.State(changed).differences(state.State(files)) == [name]


def test_every_flipped_byte_is_noticed_or_of_no_account(files):
    """The rest of a tar archive is padding; what is taken is always the same."""
    content = bytearray(packed(files))
    for at in range(0, len(content), 41):
        damaged = bytes(content[:at]) + bytes([content[at] ^ 1]) + bytes(content[at + 1 :])
        try:
            _manifest, found = archive.unpack(damaged, "copy")
        except TunnelError:
            continue
        assert found.files == files


def test_half_a_file(files):
    content = packed(files)
    for size in (0, 1, 511, 512, 1024, 3000, len(content) // 2):
        with pytest.raises(TunnelError):
            archive.unpack(content[:size], "copy")


REFUSED = {
    "a later format": ({"format": 2, "made_by": "9.0.0"}, r"format 2.*knows 1 at most.*9\.0\.0"),
    "no format": ({"format": None}, "has no manifest"),
    "a truth value": ({"format": True}, "has no manifest"),
    "format 0": ({"format": 0}, "cannot be read"),
    "a time of another form": ({"made_at": "yesterday"}, "cannot be read"),
    "a time that there is not": ({"made_at": "2026-13-45T99:99:99Z"}, "cannot be read"),
    "a list": ({"domain": []}, "cannot be read"),
    "another tunnel than its files": ({"tunnel_id": "tnl_other"}, "not that of its files"),
    "another CA than its file": ({"ca_fingerprint": "ab" * 32}, "not that of its files"),
    "a sum that is none": ({"files": {"ca.crt": 1}}, "cannot be read"),
    "a file that is not there": ({"files": {"ca.crt": "ab" * 32}}, "other files than"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_manifests_that_are_refused(files, kind):
    changes, message = REFUSED[kind]
    with pytest.raises(TunnelError, match=message):
        archive.unpack(packed(files, **changes), "copy")


@pytest.mark.parametrize(
    "name", ["state/../ca.key", "/etc/passwd", "state/.x", "ca.key", "state/copies.json", "state/"]
)
def test_names_that_lead_elsewhere(files, name):
    with pytest.raises(TunnelError, match="no file of a state"):
        archive.unpack(tar([("manifest.json", b"{}"), (name, b"x")]), "copy")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, b"S"])
def test_members_that_are_no_files(kind):
    with pytest.raises(TunnelError):
        archive.unpack(tar([("state/ca.key", b"")], kind), "copy")


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_chain_of_headers_without_end(kind):
    """Each describes the next one; tarfile reads them by recursion."""
    member = tarfile.TarInfo("x")
    member.type = kind
    content = member.tobuf(tarfile.USTAR_FORMAT) * 20_000
    with pytest.raises(TunnelError, match="no file of a state"):
        archive.unpack(content, "copy")


def test_a_size_below_zero(files):
    """In base 256, as GNU writes large numbers; an archive would never end."""
    header = bytearray(packed(files)[: tarfile.BLOCKSIZE])
    header[124:136] = b"\xff" * 12
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    with pytest.raises(TunnelError, match="no file of a state"):
        archive.unpack(bytes(header) + packed(files)[tarfile.BLOCKSIZE :], "copy")


def test_a_member_that_is_there_twice(files):
    with pytest.raises(TunnelError, match="no file of a state"):
        archive.unpack(tar([("state/a", b"x"), ("state/a", b"y")]), "copy")
