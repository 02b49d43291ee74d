"""A bundle is written whole, and over nothing but an older bundle."""

from __future__ import annotations

import os
import subprocess

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.bundle.reader import Bundle
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.bundle.writer import Draft
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.bundles import pack_program

KEY = "key-77.asc"
CLOUDFLARED = "cloudflared-77.tar.gz"
ENTRIES = {
    KEY: {"part": "repository key", "version": "77"},
    CLOUDFLARED: {"part": "cloudflared", "version": "file-77", "binary": "77" * 32},
}


@pytest.fixture
def draft(tmp_path):
    """A bundle of these files that is to be at a place."""
    (tmp_path / KEY).write_text("a key")
    (tmp_path / CLOUDFLARED).write_bytes(pack_program(b"x"))

    def make(name, *files):
        entries = {file: ENTRIES[file] for file in files or ENTRIES}
        return Draft(tmp_path / name, {file: tmp_path / file for file in entries}, entries)

    return make


def write(draft):
    draft.check_place()
    assert not draft.is_there()
    draft.write()
    draft.check_place()
    assert draft.is_there()


@pytest.mark.parametrize("name", ["bundle", "deep/er/bundle", "bundle.tar"])
def test_what_was_written_can_be_read_by_everybody(draft, tmp_path, name):
    os.umask(before := os.umask(0o077))
    os.umask(0o077)
    try:
        write(draft(name))
    finally:
        os.umask(before)
    place = tmp_path / name
    bundle = Bundle(place, "the bundle")
    bundle.check()
    assert bundle.files.keys() == {*ENTRIES, "sbom.cdx.json"}
    wanted = {"bundle": 0o755, "bundle.tar": 0o644}[place.name]
    assert place.stat().st_mode & 0o777 == wanted
    if place.is_dir():
        assert {path.stat().st_mode & 0o777 for path in place.iterdir()} == {0o644}


def test_the_sums_are_those_of_sha256sum(draft, tmp_path):
    """Its carrier can check a bundle with what every system has."""
    write(draft("bundle"))
    write(draft("bundle.tar"))
    (tmp_path / "unpacked").mkdir()
    unpacked = tmp_path / "unpacked"
    subprocess.run(["tar", "-xf", tmp_path / "bundle.tar", "-C", unpacked], check=True)
    for name in ("bundle", "unpacked"):
        command = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
        done = subprocess.run(command, cwd=tmp_path / name, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) == len(list((tmp_path / name).iterdir())) - 1


def test_the_same_files_make_the_same_bytes(draft, tmp_path):
    write(draft("one.tar"))
    write(draft("two.tar"))
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


@pytest.mark.parametrize("name", ["bundle", "bundle.tar"])
def test_an_older_bundle_is_replaced(draft, tmp_path, name):
    write(draft(name))
    write(draft(name, KEY))
    assert Bundle(tmp_path / name, "the bundle").files.keys() == {KEY, "sbom.cdx.json"}
    if name == "bundle":
        assert not (tmp_path / "bundle" / CLOUDFLARED).exists()


@pytest.mark.parametrize("name", ["bundle", "bundle.tar"])
def test_a_damaged_one_is_mended(draft, tmp_path, name):
    write(draft(name))
    path = tmp_path / name
    target = path / CLOUDFLARED if path.is_dir() else path
    os.truncate(target, target.stat().st_size // 2)
    write(draft(name))


def test_an_interrupted_run_leaves_no_bundle_and_the_next_completes_it(
    draft, tmp_path, monkeypatch
):
    write(draft("bundle", KEY))

    def stopped(*_paths):
        raise KeyboardInterrupt

    with monkeypatch.context() as interrupted:
        interrupted.setattr(os, "replace", stopped)
        with pytest.raises(KeyboardInterrupt):
            draft("bundle").write()
    with pytest.raises(TunnelError, match="SHA256SUMS"):
        Bundle(tmp_path / "bundle", "the bundle")
    write(draft("bundle"))
    assert not [path for path in (tmp_path / "bundle").iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("name", ["bundle", "bundle.tar"])
def test_other_files_are_left_alone(draft, tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "letters.txt").write_text("precious")
    with pytest.raises(TunnelError, match="mcp_tunnel_bundle_dest"):
        draft(name).check_place()


def test_a_file_is_no_place_for_a_directory(draft, tmp_path):
    (tmp_path / "bundle").write_text("precious")
    with pytest.raises(TunnelError, match="is not a directory"):
        draft("bundle").check_place()


def test_a_place_that_cannot_be_written_is_named(draft, tmp_path):
    for name in ("/proc/bundle", "/proc/bundle.tar"):
        with pytest.raises(TunnelError, match=f"mcp_tunnel_bundle_dest {name}: cannot be written"):
            draft(name).write()
