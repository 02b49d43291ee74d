"""A bundle is used only when it is whole, of this version, and nobody else can write it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile

import pytest
from ansible import constants
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.bundle.reader import (
    Bundle,
    OtherVersionError,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.bundles import (
    VERSION,
    pack_bundle,
    write_bundle,
    write_sums,
)

PROXY = "proxy-1.2.3-cp311-x86_64-0badcafe.tar.gz"
FILES = {PROXY: b"a release" * 1000, "cloudflared-77.tar.gz": b"another", "sbom.cdx.json": b"{}"}


@pytest.fixture
def directory(tmp_path):
    return write_bundle(tmp_path / "bundle", FILES)


@pytest.fixture(params=["directory", "archive"])
def place(request):
    """The bundle of the test, in either form, as it is when it is asked for."""
    return {"directory": lambda path: path, "archive": pack_bundle}[request.param]


@pytest.fixture(autouse=True)
def local_temp(tmp_path, monkeypatch):
    path = tmp_path / "local-temp"
    path.mkdir()
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(path))
    return path


def opened(place):
    bundle = Bundle(place, f"mcp_tunnel_bundle {place}")
    bundle.check()
    return bundle


def refusal(place):
    with pytest.raises(TunnelError) as caught:
        opened(place)
    assert caught.value.subject.startswith(f"mcp_tunnel_bundle {place}")
    return caught.value


def test_every_file_can_be_taken_and_no_copy_stays(directory, place, local_temp):
    bundle = opened(place(directory))
    assert bundle.files.keys() == FILES.keys()
    for name, content in FILES.items():
        with bundle.taken(name) as path:
            assert path.read_bytes() == content
    assert list(local_temp.iterdir()) == []


@pytest.mark.parametrize("name", [*FILES, "manifest.json", "SHA256SUMS"])
@pytest.mark.parametrize("at", [0, -1])
def test_one_flipped_bit_is_refused_with_the_files_name(directory, place, name, at):
    content = bytearray((directory / name).read_bytes())
    content[at] ^= 1
    (directory / name).write_bytes(content)
    assert name in str(refusal(place(directory)))


@pytest.mark.parametrize("name", [*FILES, "manifest.json", "SHA256SUMS"])
def test_a_missing_file_is_named(directory, place, name):
    (directory / name).unlink()
    error = refusal(place(directory))
    assert name in error.subject
    assert "cannot be read" in error.problem


def test_a_file_that_changes_after_the_check_is_refused(directory):
    bundle = opened(directory)
    (directory / PROXY).write_bytes(b"another")
    with pytest.raises(TunnelError, match="its SHA-256 is"), bundle.taken(PROXY):
        pass


def test_a_bundle_of_another_version_is_refused_with_both(tmp_path, place):
    error = refusal(place(write_bundle(tmp_path / "other", FILES, made_by="9.8.7")))
    assert isinstance(error, OtherVersionError)
    assert "9.8.7" in error.problem
    assert VERSION in error.problem


@pytest.mark.parametrize(
    "manifest",
    [
        {"format": 2, "collection": {"version": VERSION}, "files": []},
        {"collection": {"version": VERSION}, "files": []},
        [],
        {"format": 1, "collection": VERSION, "files": []},
        {"format": 1, "collection": {"version": VERSION}, "files": [{"file": "../../etc/shadow"}]},
        {"format": 1, "collection": {"version": VERSION}, "files": [{"file": "/etc/shadow"}]},
        {"format": 1, "collection": {"version": VERSION}, "files": ["x"]},
        {"format": 1, "collection": {"version": VERSION}, "files": [{"file": "unknown"}]},
    ],
    ids=range(8),
)
def test_a_manifest_that_says_something_else_is_refused(directory, place, manifest):
    (directory / "manifest.json").write_text(json.dumps(manifest))
    refusal(place(write_sums(directory)))


@pytest.mark.parametrize("line", ["x", f"{'a' * 64}  ../x\n", f"{'a' * 64}  /etc/passwd\n", "\xff"])
def test_sums_that_name_no_file_are_refused(directory, place, line):
    (directory / "SHA256SUMS").write_text(line, encoding="latin-1")
    assert "SHA256SUMS" in refusal(place(directory)).subject


def test_what_nobody_named_is_not_read(directory):
    os.mkfifo(directory / "pipe")
    (directory / "more").symlink_to("/etc/shadow")
    assert opened(directory).files.keys() == FILES.keys()


@pytest.mark.parametrize("kind", ["link", "pipe", "directory"])
def test_a_named_file_that_is_no_plain_file_is_refused(directory, tmp_path, kind):
    path = directory / PROXY
    path.rename(tmp_path / "elsewhere")
    if kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    assert PROXY in str(refusal(directory)).replace(str(tmp_path / "elsewhere"), "")


def member(name, kind=tarfile.REGTYPE, **fields):
    info = tarfile.TarInfo(name)
    info.type = kind
    for field, value in fields.items():
        setattr(info, field, value)
    return info


@pytest.mark.parametrize(
    "bad",
    [
        member("/etc/cron.d/x"),
        member("../x"),
        member("a/../../x"),
        member("folder/x"),
        member("..", tarfile.DIRTYPE),
        member("folder", tarfile.DIRTYPE),
        member("link", tarfile.SYMTYPE, linkname="/etc/shadow"),
        member("hard", tarfile.LNKTYPE, linkname=PROXY),
        member("device", tarfile.CHRTYPE),
        member("disk", tarfile.BLKTYPE),
        member("pipe", tarfile.FIFOTYPE),
        member(".hidden"),
        member("-rf"),
        member("new\nline"),
        member(PROXY),
    ],
    ids=lambda info: repr(info.name),
)
def test_a_bad_member_of_an_archive_is_refused(directory, bad):
    archive = pack_bundle(directory)
    with tarfile.open(archive, "a") as packed:
        packed.addfile(bad, io.BytesIO(b""))
    error = refusal(archive)
    assert bad.name.replace("\n", "") in error.subject.replace("\n", "")


def test_an_archive_of_the_directory_itself_is_read(directory):
    archive = directory.with_suffix(".tar")
    with tarfile.open(archive, "w") as packed:
        packed.add(directory, ".")
    assert opened(archive).files.keys() == FILES.keys()


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x1f\x8b compressed"])
def test_what_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "bundle.tar").write_bytes(content)
    refusal(tmp_path / "bundle.tar")


def test_an_archive_that_was_cut_off_is_refused(directory):
    archive = pack_bundle(directory)
    size = archive.stat().st_size
    for left in (1, 2):
        os.truncate(archive, size * left // 3)
        refusal(archive)


def test_a_bundle_that_is_not_there_is_named(tmp_path):
    assert "cannot be read on the controller" in refusal(tmp_path / "nothing").problem


@pytest.mark.parametrize("mode", [0o777, 0o757])
def test_a_bundle_that_others_can_write_is_refused(directory, place, mode):
    path = place(directory)
    path.chmod(mode)
    assert "can be written by other users" in refusal(path).problem


def test_a_bundle_of_another_user_is_refused(directory, place):
    path = place(directory)
    os.chown(path, 12345, -1)
    assert "belongs to the user with ID 12345" in refusal(path).problem


def test_a_bundle_in_a_directory_that_others_can_write_is_refused(directory, place, tmp_path):
    path = place(directory)
    tmp_path.chmod(0o777)
    assert str(tmp_path) in refusal(path).problem
    # Nothing is mended, either: this may not be ours.
    assert tmp_path.stat().st_mode & 0o777 == 0o777


@pytest.mark.parametrize("name", [PROXY, "manifest.json", "SHA256SUMS"])
def test_a_file_that_others_can_write_is_refused(directory, name):
    (directory / name).chmod(0o666)
    assert f"{directory / name} can be written by other users" in refusal(directory).problem


def test_a_device_is_no_bundle(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "neither a directory nor a plain file" in refusal(tmp_path / "pipe").problem


def test_a_copy_that_cannot_be_written_is_no_fault_of_the_bundle(directory, monkeypatch):
    bundle = opened(pack_bundle(directory))
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", "/proc/nothing")
    with pytest.raises(TunnelError, match="ANSIBLE_LOCAL_TEMP"), bundle.taken(PROXY):
        pass


def test_a_manifest_without_end_is_given_up(directory, place):
    content = b" " * (1 << 21)
    (directory / "manifest.json").write_bytes(content)
    sums = f"{hashlib.sha256(content).hexdigest()}  manifest.json\n"
    (directory / "SHA256SUMS").write_text(sums)
    assert "has more than 1048576 bytes" in refusal(place(directory)).problem
