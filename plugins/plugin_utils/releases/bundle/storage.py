# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a bundle, in a directory or in a tar archive that is not compressed."""

from __future__ import annotations

import contextlib
import os
import stat
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.bundle.layout import NAME

_MOST_MEMBERS = 1000


class Reader(Protocol):
    """The bytes of a file, from its beginning."""

    def read(self, size: int, /) -> bytes:
        """At most *size* bytes; none at the end."""


class Storage(Protocol):
    """Where the files are."""

    def open(self, name: str) -> contextlib.AbstractContextManager[Reader]:
        """One file. Raises :class:`OSError` if it cannot be read."""

    def path(self, name: str) -> Path | None:
        """Its path, if it is a file by itself."""


class BadMember(Exception):
    """A member of an archive that is no file of a bundle: its name, and what is wrong."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")
        self.name, self.problem = name, problem


@dataclass(frozen=True)
class Directory:
    """The files of a directory, and none outside of it."""

    root: Path

    def open(self, name: str) -> contextlib.AbstractContextManager[Reader]:
        """A plain file; a link, a device or a pipe is not opened."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(self.root / name, flags)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return open(descriptor, "rb")
        os.close(descriptor)
        raise OSError(f"{self.root / name} is not a plain file")

    def path(self, name: str) -> Path | None:
        """Every file has one."""
        return self.root / name


class Archive:
    """The members of a tar archive, each of which has to be a file of a bundle.

    :raises BadMember: if one is not.
    :raises tarfile.TarError: if the file is no such archive.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._places: dict[str, tuple[int, int]] = {}  # offset and size in bytes
        with tarfile.open(file, "r:") as archive:
            for member in archive:
                # As `tar -cf bundle.tar -C bundle .` writes them.
                name = member.name.removeprefix("./")
                if not (member.isdir() and member.name == "."):
                    _check_member(member, name, self._places)
                    self._places[name] = (member.offset_data, member.size)

    def open(self, name: str) -> contextlib.AbstractContextManager[Reader]:
        """A member, without unpacking it."""
        if name not in self._places:
            raise FileNotFoundError(f"{self._file} has no such member")
        return _Slice(self._file, *self._places[name])

    def path(self, name: str) -> Path | None:
        """No member has one."""
        return None


class _Slice(contextlib.AbstractContextManager["_Slice"]):
    """The content of one member, which stands in the archive in one piece."""

    def __init__(self, file: Path, offset: int, size: int) -> None:
        self._file = file.open("rb")
        self._file.seek(offset)
        self._left = size

    def read(self, size: int, /) -> bytes:
        block = self._file.read(min(size, self._left))
        self._left -= len(block)
        return block

    def __exit__(self, *_error: object) -> None:
        self._file.close()


def _check_member(member: tarfile.TarInfo, name: str, known: Mapping[str, object]) -> None:
    if not member.isreg() or member.issparse():
        problem = "is not a plain file, and a bundle has nothing else"
    elif not NAME.fullmatch(name):
        problem = "is no name of a file of a bundle"
    elif name in known:
        problem = "is there twice"
    elif len(known) == _MOST_MEMBERS:
        problem = f"is one of more than {_MOST_MEMBERS} files"
    else:
        return
    raise BadMember(member.name, problem)
