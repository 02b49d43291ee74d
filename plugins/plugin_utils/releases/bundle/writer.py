# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes a bundle, as a directory or a tar archive, unless it is there as it would be written."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller import collection
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller.cache import sha256_of
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.bundle.layout import (
    FORMAT,
    MANIFEST,
    SBOM,
    SUMS,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.bundle.reader import Bundle
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.bundle.sbom import sbom


class Draft:
    """A bundle that is to be at *dest*, an absolute path.

    :param archives: file name to path.
    :param entries: file name to what the manifest says about it.
    """

    def __init__(
        self, dest: Path, archives: Mapping[str, Path], entries: Mapping[str, Mapping[str, str]]
    ) -> None:
        self._dest = dest
        self._archives = archives
        bill = sbom(archives, entries).encode()
        sums = {name: sha256_of(path) for name, path in archives.items()}
        sizes = {name: path.stat().st_size for name, path in archives.items()}
        sums[SBOM], sizes[SBOM] = hashlib.sha256(bill).hexdigest(), len(bill)
        about: dict[str, Mapping[str, str]] = {**entries, SBOM: {"part": "sbom"}}
        manifest = _manifest(
            [
                {"file": name, "sha256": sums[name], "size": sizes[name], **about[name]}
                for name in sorted(about)
            ]
        )
        sums[MANIFEST] = hashlib.sha256(manifest).hexdigest()
        lines = "".join(f"{sums[name]}  {name}\n" for name in sorted(sums))
        # The sums come last: without them, what an interrupted run has left is no bundle.
        self._texts = {SBOM: bill, MANIFEST: manifest, SUMS: lines.encode()}
        self._sums = sums

    def names(self) -> list[str]:
        """The names of its files."""
        return sorted([*self._archives, *self._texts])

    def is_there(self) -> bool:
        """Whether the bundle is there, whole, with the same files."""
        try:
            bundle = Bundle(self._dest, str(self._dest))
            bundle.check()
        except TunnelError:
            return False
        return bundle.sums == self._sums

    def write(self) -> None:
        """Writes it.

        :raises TunnelError: if something else is at its place, or that cannot be written.
        """
        with _writable(self._dest):
            if self._dest.suffix == ".tar":
                self._write_archive()
            else:
                self._write_directory()

    def check_place(self) -> None:
        """Whether nothing but an older bundle is at its place.

        :raises TunnelError: if something is.
        """
        with _writable(self._dest):
            is_archive = self._dest.suffix == ".tar"
            if not os.path.lexists(self._dest) or (is_archive and self._dest.is_file()):
                return
            if is_archive or not self._dest.is_dir():
                kind = "a plain file" if is_archive else "a directory"
                raise _taken(self._dest, f"is there, and is not {kind}")
            strangers = sorted(set(os.listdir(self._dest)) - self._older() - self._sums.keys())
            if strangers:
                raise _taken(self._dest, f"has files that are no bundle's, such as {strangers[0]}")

    def _older(self) -> set[str]:
        """The names of files that an older bundle in the directory may have."""
        names = {MANIFEST, SBOM, SUMS}
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            manifest = json.loads((self._dest / MANIFEST).read_text(encoding="utf-8"))
            names |= {str(entry["file"]) for entry in manifest["files"]}
        return names

    def _write_directory(self) -> None:
        self._dest.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._dest.chmod(0o755)
        old = self._older()
        for name in [SUMS, *sorted(old - self._sums.keys() - {SUMS})]:
            with contextlib.suppress(FileNotFoundError):
                (self._dest / name).unlink()
        for name, path in self._archives.items():
            with _replacing(self._dest / name) as target, path.open("rb") as source:
                shutil.copyfileobj(source, target)
        for name, text in self._texts.items():
            with _replacing(self._dest / name) as target:
                target.write(text)

    def _write_archive(self) -> None:
        self._dest.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with _replacing(self._dest) as target, tarfile.open(fileobj=target, mode="w") as archive:
            for name, text in self._texts.items():
                archive.addfile(_member(name, len(text)), io.BytesIO(text))
            for name, path in self._archives.items():
                with path.open("rb") as source:
                    archive.addfile(_member(name, path.stat().st_size), source)


def _manifest(files: list[Mapping[str, Any]]) -> bytes:
    document = {
        "format": FORMAT,
        "collection": {"name": collection.NAME, "version": collection.version()},
        "files": files,
    }
    return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    return member


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file that gets its name when it is whole; everybody may read it."""
    descriptor, scratch = tempfile.mkstemp(prefix=".writing-", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            yield file
        os.chmod(scratch, 0o644)
        os.replace(scratch, path)
    except BaseException:
        os.unlink(scratch)
        raise


@contextlib.contextmanager
def _writable(dest: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TunnelError(
            f"mcp_tunnel_bundle_dest {dest}",
            f"cannot be written: {error.filename or dest}: {error.strerror}",
            "Make room, or name a directory in which this user may write",
        ) from None


def _taken(dest: Path, problem: str) -> TunnelError:
    return TunnelError(
        f"mcp_tunnel_bundle_dest {dest}", problem, "Name a place of its own, or an older bundle"
    )
