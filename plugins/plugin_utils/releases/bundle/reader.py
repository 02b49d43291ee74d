# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks a bundle, and gives its files. Nothing is written to it, and only named files are read.

Sums find a damaged file. They do not find one that was exchanged together with its sum, so a bundle
that other users could write is refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from ansible import constants
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.values import shown
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller import collection
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller.private_path import (
    check_unchangeable,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.bundle.layout import (
    FORMAT,
    LARGEST,
    MANIFEST,
    NAME,
    SUMS,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.bundle.storage import (
    Archive,
    BadMember,
    Directory,
    Reader,
    Storage,
)

_BLOCK = 1 << 20
_LONGEST_LIST = 1 << 20  # bytes of the manifest and of the sums, each
_SUM_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")
_ANEW = "Copy the bundle again, or assemble it anew"


class OtherVersionError(TunnelError):
    """Another version of the collection assembled the bundle."""


class Bundle:
    """The bundle at *place*, an absolute path.

    :param subject: the bundle in messages.
    :raises OtherVersionError: if another version of the collection assembled it.
    :raises TunnelError: if it is no bundle, is damaged, or can be changed by another user.
    """

    def __init__(self, place: Path, subject: str) -> None:
        self._subject = subject
        with self._readable():
            self._storage = self._opened(check_unchangeable(place, self._may_be_changed))
        #: Name of each file, the manifest among them, to its SHA-256 in hex.
        self.sums = self._read_sums()
        manifest = self._read_manifest()
        self._check_version(manifest)
        #: Name of each file, to what the manifest says about it.
        self.files = dict(self._entries(manifest))

    def check(self) -> None:
        """Compares every file with its sum.

        :raises TunnelError: for the first one that differs, or is missing.
        """
        for name in sorted(self.files):
            self._read(name, None)

    @contextlib.contextmanager
    def taken(self, name: str) -> Iterator[Path]:
        """The path of a file that has its sum. A member of an archive is copied for the time.

        :raises TunnelError: if it differs, or is missing.
        """
        path = self._storage.path(name)
        if path:
            self._read(name, None)
            yield path
            return
        with _local_temp():
            scratch = Path(tempfile.mkdtemp(dir=constants.DEFAULT_LOCAL_TMP))
        try:
            with _local_temp(), (scratch / name).open("wb") as copy:
                self._read(name, copy)
            yield scratch / name
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _read(self, name: str, copy: IO[bytes] | None) -> None:
        """Reads a file to its end, and compares its sum."""
        digest, size = hashlib.sha256(), 0
        with self._readable(name), self._open(name) as file:
            while block := file.read(_BLOCK):
                size += len(block)
                if size > LARGEST:
                    raise self._wrong(name, f"has more than {LARGEST} bytes")
                digest.update(block)
                if copy:
                    with _local_temp():
                        copy.write(block)
        self._compare(name, digest.hexdigest())

    def _compare(self, name: str, found: str) -> None:
        if found != self.sums[name]:
            raise self._wrong(name, f"its SHA-256 is {found}, {SUMS} says {self.sums[name]}")

    def _open(self, name: str) -> contextlib.AbstractContextManager[Reader]:
        path = self._storage.path(name)
        if path:
            check_unchangeable(path, self._may_be_changed)
        return self._storage.open(name)

    def _opened(self, place: Path) -> Storage:
        if place.is_dir():
            return Directory(place)
        try:
            return Archive(place)
        except BadMember as error:
            raise self._wrong(shown(error.name), error.problem) from None
        except tarfile.TarError as error:
            raise TunnelError(
                self._subject, f"is neither a directory nor a tar archive: {error}", _ANEW
            ) from None

    def _read_list(self, name: str) -> bytes:
        with self._readable(name), self._open(name) as file:
            content = file.read(_LONGEST_LIST + 1)
        if len(content) > _LONGEST_LIST:
            raise self._wrong(name, f"has more than {_LONGEST_LIST} bytes")
        return content

    def _read_sums(self) -> dict[str, str]:
        sums = {}
        text = self._read_list(SUMS).decode("utf-8", "replace").removesuffix("\n")
        for line in text.split("\n"):
            match = _SUM_LINE.fullmatch(line)
            if not match or not NAME.fullmatch(match[2]):
                raise self._wrong(SUMS, f"{shown(line)!r} is no sum and name of a file")
            sums[match[2]] = match[1]
        if MANIFEST not in sums:
            raise self._wrong(SUMS, f"does not name {MANIFEST}")
        return sums

    def _read_manifest(self) -> Mapping[str, Any]:
        content = self._read_list(MANIFEST)
        self._compare(MANIFEST, hashlib.sha256(content).hexdigest())
        try:
            manifest = json.loads(content)
        except (ValueError, RecursionError):
            manifest = None
        if not isinstance(manifest, Mapping):
            raise self._wrong(MANIFEST, "is no map in JSON")
        if manifest.get("format") != FORMAT:
            found = shown(manifest.get("format"))
            raise self._wrong(MANIFEST, f"has format {found}, and this collection reads {FORMAT}")
        return manifest

    def _check_version(self, manifest: Mapping[str, Any]) -> None:
        maker, known = manifest.get("collection"), collection.version()
        found = shown(maker.get("version") if isinstance(maker, Mapping) else None)
        if found != known:
            raise OtherVersionError(
                self._subject,
                f"was assembled by version {found} of {collection.NAME}, and this is {known}",
                f"Assemble it anew with {known}, or install {found} on this controller",
            )

    def _entries(self, manifest: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        entries = manifest.get("files")
        for entry in entries if isinstance(entries, list) else []:
            name = entry.get("file") if isinstance(entry, Mapping) else None
            if not isinstance(name, str) or not NAME.fullmatch(name):
                raise self._wrong(MANIFEST, f"{shown(name)!r} is no name of a file")
            if name not in self.sums or self.sums[name] != entry.get("sha256"):
                raise self._wrong(name, f"{MANIFEST} and {SUMS} disagree about its SHA-256")
            yield name, entry

    def _wrong(self, name: str, problem: str) -> TunnelError:
        return TunnelError(f"{self._subject}: {name}", problem, _ANEW)

    def _may_be_changed(self, found: Path, problem: str) -> TunnelError:
        return TunnelError(
            self._subject,
            f"is not used, because {found} {problem}, and so could exchange what hosts get",
            "Revoke that permission once you know that the bundle is the one that was assembled, "
            "or copy that one to a directory of root or of this user alone",
        )

    @contextlib.contextmanager
    def _readable(self, name: str = "") -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            if name:
                problem = f"cannot be read on the controller: {reason}"
                raise self._wrong(name, problem) from None
            raise TunnelError(
                self._subject,
                f"cannot be read on the controller: {reason}",
                "Give the absolute path of a directory or archive that mcp_tunnels.stack.assemble "
                "has made, and let this user read it",
            ) from None


@contextlib.contextmanager
def _local_temp() -> Iterator[None]:
    """Says what to do where a member of an archive cannot be copied."""
    try:
        yield
    except OSError as error:
        raise TunnelError(
            f"{constants.DEFAULT_LOCAL_TMP} on the controller",
            f"cannot be written: {error.strerror}",
            "Make room there, set ANSIBLE_LOCAL_TEMP to a directory that is yours alone, or unpack "
            "the bundle: a directory needs no copy",
        ) from None
