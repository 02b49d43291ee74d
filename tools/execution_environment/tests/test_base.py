"""An image of Debian's tree gets its name only if it is whole."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from execution_environment import base
from execution_environment.podman import Podman
from execution_environment.refused import Refused


class Recorded(Podman):
    """Takes what it is asked to import, and remembers the other commands."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.commands: list[str] = []
        self.files: list[str] = []

    def has(self, image: str) -> bool:
        return False

    def run(self, *arguments: str, stdin: int = -1) -> str:
        if arguments[0] != "import":
            self.commands.append(" ".join(arguments))
            return ""
        with open(os.dup(stdin), "rb") as stream, tarfile.open(fileobj=stream, mode="r|") as tree:
            self.files = [member.name for member in tree]
        return "sha256:0123\n"


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Debian's tree, with a file that every image has and one that none has."""
    tree = tmp_path / "12-abcd"
    for name in ("etc/debian_version", "usr/share/doc/README"):
        (tree / name).parent.mkdir(parents=True)
        (tree / name).touch()
    monkeypatch.setattr("lab.hosts.rootfs.ensure", lambda release, progress: tree)
    return tree


def test_a_whole_tree(tmp_path: Path, tree: Path) -> None:
    podman = Recorded(tmp_path)
    assert base.ensure(podman) == "localhost/mcp-tunnels-base:12-abcd"
    assert podman.commands == ["tag sha256:0123 localhost/mcp-tunnels-base:12-abcd"]
    assert "./etc/debian_version" in podman.files
    assert "./usr/share/doc/README" not in podman.files


def test_a_tree_that_cannot_be_read_whole(
    tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tar = tmp_path / "bin/tar"
    tar.parent.mkdir()
    tar.write_text('#!/bin/sh\n/usr/bin/tar "$@"\nexit 2\n')
    tar.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tar.parent}:{os.environ['PATH']}")
    podman = Recorded(tmp_path)
    with pytest.raises(Refused, match=f"the tree {tree}: cannot be read whole: .* status 2"):
        base.ensure(podman)
    assert podman.commands == ["image rm sha256:0123"]
