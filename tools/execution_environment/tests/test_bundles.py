"""A bundle that does not fit is refused before anything is built."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest

from execution_environment.inputs import ROOT, check_bundle, gather, version
from execution_environment.refused import Refused

RELEASE = "proxy-1-cp311.tar.gz"


def made(directory: Path, by: str) -> Path:
    """A bundle as sha256sum(1) would describe it."""
    (directory / RELEASE).write_bytes(b"a release")
    (directory / "manifest.json").write_text(json.dumps({"collection": {"version": by}}))
    lines = [
        f"{hashlib.sha256((directory / name).read_bytes()).hexdigest()}  {name}\n"
        for name in (RELEASE, "manifest.json")
    ]
    (directory / "SHA256SUMS").write_text("".join(lines))
    return directory


def refused(bundle: Path) -> str:
    with pytest.raises(Refused) as error:
        check_bundle(bundle)
    assert "Assemble it anew with this version" in str(error.value)
    return str(error.value)


def test_a_whole_one_is_taken(tmp_path: Path) -> None:
    check_bundle(made(tmp_path, version()))


def test_of_another_version(tmp_path: Path) -> None:
    text = refused(made(tmp_path, "99.0.0"))
    assert f"the bundle {tmp_path}: was assembled by version 99.0.0 of mcp_tunnels.stack" in text


def test_with_one_other_bit(tmp_path: Path) -> None:
    made(tmp_path, version())
    (tmp_path / RELEASE).write_bytes(b"a releasd")
    assert f"{tmp_path / RELEASE}: does not have the sum" in refused(tmp_path)


def test_with_one_file_less(tmp_path: Path) -> None:
    made(tmp_path, version())
    (tmp_path / RELEASE).unlink()
    assert f"has no {RELEASE}" in refused(tmp_path)


def test_with_one_file_more(tmp_path: Path) -> None:
    made(tmp_path, version())
    (tmp_path / "more").write_text("")
    assert f"{tmp_path / 'more'}: does not have the sum" in refused(tmp_path)


def test_with_a_link(tmp_path: Path) -> None:
    made(tmp_path, version())
    (tmp_path / "link").symlink_to(RELEASE)
    assert f"{tmp_path / 'link'}: is not a plain file" in refused(tmp_path)


@pytest.mark.parametrize("manifest", ["", "[]", "null", '{"collection": 1}'])
def test_with_a_manifest_that_is_none(tmp_path: Path, manifest: str) -> None:
    made(tmp_path, version())
    (tmp_path / "manifest.json").write_text(manifest)
    assert f"the bundle {tmp_path}: cannot be read" in refused(tmp_path)


def test_that_is_not_there(tmp_path: Path) -> None:
    """The command says so in one line, before it needs podman."""
    command = [str(ROOT / "tools/execution-environment"), "--bundle", str(tmp_path / "none")]
    done = subprocess.run(
        command, env={**os.environ, "PATH": "/usr/bin:/bin"}, capture_output=True, text=True
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"tools/execution-environment: the bundle {tmp_path / 'none'}: ")


def test_the_copy_of_an_earlier_call_is_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bundle").mkdir()
    bundle = made(tmp_path / "bundle", version())
    monkeypatch.setattr("execution_environment.inputs._collection", lambda directory: None)
    monkeypatch.setattr("execution_environment.inputs._wheels", lambda directory, python: None)
    gather(tmp_path, bundle)
    assert sorted(path.name for path in bundle.iterdir()) == [
        "SHA256SUMS",
        "manifest.json",
        RELEASE,
    ]


def test_what_git_cannot_list_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bundle").mkdir()
    bundle = made(tmp_path / "bundle", version())
    monkeypatch.setenv("GIT_DIR", str(tmp_path))
    with pytest.raises(Refused, match="git cannot list the files of the collection"):
        gather(tmp_path / "inputs", bundle)
