# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a deployment on the controller: small plain files that nobody else can exchange."""

from __future__ import annotations

import os
from pathlib import Path

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller.private_path import (
    check_unchangeable,
)

SUBJECT = "mcp_tunnel_import_src"
_LARGEST = 256 * 1024  # bytes; the files of the vendor's guides have some thousands
_MOST = 64  # files in a directory
_COPY = (
    "Copy the deployment's directory with cp -rL, make the copy yours, with chown -R, and close it "
    "with chmod -R go-rwx"
)


class Files:
    """The files below a directory, by their names relative to it."""

    def __init__(self, root: str) -> None:
        """Takes the directory.

        :param root: its absolute path.
        :raises TunnelError: if it is no directory that only the running user can read and change.
        """
        self.root = Path(root)
        if not self.root.is_dir():
            raise TunnelError(
                SUBJECT,
                f"is {root!r}, which is no directory",
                "Set it to a copy of the deployment's directory, or to one with its Secrets",
            )
        self._check(self.root)
        if self.root.stat().st_mode & 0o077:
            raise TunnelError(
                str(self.root),
                "has secrets, and other users may look into it",
                f"Close it: chmod -R go-rwx {self.root}",
            )

    def text(self, name: str) -> str | None:
        """The content of a file, or ``None`` if there is none.

        :raises TunnelError: if it is no plain file, a link, too large, or no text.
        """
        path = self.root / name
        try:
            os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise TunnelError(str(path), f"cannot be read: {error.strerror}", _COPY) from None
        self._check(path)
        try:
            with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
                content = file.read(_LARGEST + 1)
        except OSError as error:
            raise TunnelError(str(path), f"cannot be read: {error.strerror}", _COPY) from None
        if len(content) > _LARGEST:
            remedy = "Move it out of the directory, or cut from it what is not of the deployment"
            raise TunnelError(str(path), f"is larger than {_LARGEST // 1024} KiB", remedy)
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            raise TunnelError(str(path), "is no text in UTF-8", "Copy the file again")
        return text

    def names(self, suffixes: tuple[str, ...]) -> list[str]:
        """The names of the directory's own files that end like that, sorted.

        :raises TunnelError: if there are too many to be those of a deployment.
        """
        found = sorted(each.name for each in self.root.iterdir() if each.suffix in suffixes)
        if len(found) > _MOST:
            raise TunnelError(
                str(self.root),
                f"has {len(found)} files that end in {', '.join(suffixes)}",
                f"Put the deployment's alone there, at most {_MOST}",
            )
        return found

    def _check(self, path: Path) -> None:
        inside = [each for each in (path, *path.parents) if self.root in each.parents]
        for each in inside:
            if each.is_symlink():
                raise TunnelError(str(each), "is a symbolic link", _COPY)
        try:
            check_unchangeable(path, _exchangeable)
        except OSError as error:
            raise TunnelError(str(path), f"cannot be read: {error.strerror}", _COPY) from None
        if path != self.root and not path.is_file():
            raise TunnelError(str(path), "is no plain file", _COPY)


def _exchangeable(found: Path, problem: str) -> TunnelError:
    return TunnelError(str(found), f"{problem}, and so could give us a CA of their own", _COPY)
