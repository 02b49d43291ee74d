# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cloudflared release: a pinned download, or a binary that is on the controller."""

from __future__ import annotations

import hashlib
import os
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from ansible.module_utils.urls import open_url
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller.cache import (
    cached,
    is_cached,
    scratch_directory,
    sha256_of,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.pins import (
    VENDOR_ARCHITECTURES,
    check_version,
    pinned_checksum,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.tarball import pack

_BLOCK = 1 << 20
_LARGEST = 1 << 29  # bytes; the vendor's binaries have 40 million
_TIMEOUT_SECONDS = 60
_INSTALLED = "bin/cloudflared"


class _Cloudflared:
    """The common part of both; an Artifact, which is known by the SHA-256 of the binary."""

    needs_pip = False

    def __init__(self, checksum: str, version: str, title: str, about: Mapping[str, str]) -> None:
        self._checksum = checksum
        self.version = version
        self.file_name = f"cloudflared-{checksum}.tar.gz"
        self.title = title
        self.entry: Mapping[str, str] = {
            "part": "cloudflared",
            "version": version,
            **about,
            "binary": checksum,
        }

    def archive(self) -> Path:
        """The release as tar.gz. Raises :class:`TunnelError` if it is not available."""
        return cached(self.file_name, self._build, self.is_right)

    def is_cached(self) -> bool:
        """See :class:`places.Artifact`. Raises :class:`TunnelError` if the cache has no place."""
        return is_cached(self.file_name)

    def is_right(self, path: Path) -> bool:
        """Whether it is an archive of that binary, and of nothing else."""
        return _binary_of(path) == self._checksum

    def _build(self, archive: Path) -> None:
        raise NotImplementedError


class DownloadedCloudflared(_Cloudflared):
    """cloudflared *version* for one *architecture* (``uname -m``), from below *base_url*.

    *checksums* maps architectures to the SHA-256 of versions that the collection does not pin.
    """

    is_brought = False

    def __init__(
        self, version: str, architecture: str, base_url: str, checksums: Mapping[str, str]
    ) -> None:
        check_version(version)
        checksum = pinned_checksum(version, architecture, checksums)
        name = f"cloudflared-linux-{VENDOR_ARCHITECTURES[architecture]}"
        self._url = f"{base_url.rstrip('/')}/{version}/{name}"
        title = f"cloudflared {version} for {architecture}"
        about = {"release": version, "architecture": architecture}
        super().__init__(checksum, f"{version}-{checksum[:8]}", title, about)

    def _build(self, archive: Path) -> None:
        with scratch_directory(archive.parent) as scratch:
            found = self._download(scratch / _INSTALLED)
            if found != self._checksum:
                raise TunnelError(
                    self._url,
                    f"its SHA-256 is {found}, pinned is {self._checksum}",
                    "Do not use this file; if cloudflared_checksums was set by hand, compare it "
                    "with "
                    "the vendor's release notes",
                )
            pack(scratch, archive)

    def _download(self, target: Path) -> str:
        """Downloads to *target*; returns the SHA-256 of what was written."""
        try:
            with open_url(self._url, timeout=_TIMEOUT_SECONDS) as answer:
                return _install(answer, target)
        except Exception as error:  # open_url raises the errors of all its layers
            raise TunnelError(
                self._url,
                f"cannot be downloaded on the controller: {error}",
                "Let the controller reach it, set cloudflared_download_url to a mirror, or bring "
                "the "
                "binary with cloudflared_install_method: file and cloudflared_binary_file",
            ) from error


class BroughtCloudflared(_Cloudflared):
    """A cloudflared binary on the controller, with SHA-256 *checksum* unless that is empty."""

    is_brought = True

    def __init__(self, binary: Path, checksum: str = "") -> None:
        try:
            found = sha256_of(binary)
        except OSError as error:
            raise _unreadable(binary, error) from error
        if checksum and checksum.lower() != found:
            raise TunnelError(
                f"cloudflared_binary_file {binary}",
                f"its SHA-256 is {found}, cloudflared_binary_sha256 says {checksum}",
                "Bring the file that was meant, or correct the sum",
            )
        self._binary = binary
        super().__init__(found, f"file-{found[:16]}", f"cloudflared of {binary}", {})

    def _build(self, archive: Path) -> None:
        with scratch_directory(archive.parent) as scratch:
            try:
                with self._binary.open("rb") as binary:
                    found = _install(binary, scratch / _INSTALLED)
            except OSError as error:
                raise _unreadable(self._binary, error) from error
            if found != self._checksum:
                raise TunnelError(
                    f"cloudflared_binary_file {self._binary}",
                    f"has changed while it was read: its SHA-256 was {self._checksum} and is "
                    f"{found}",
                    "Make sure that nobody else writes it, and run again",
                )
            pack(scratch, archive)


def settings_of(variables: Mapping[str, Any]) -> dict[str, Any]:
    """The variables that say which release is meant, as :func:`cloudflared_for` takes them."""
    names = ("version", "download_url", "checksums", "binary_file", "binary_sha256")
    found = {name: variables[f"cloudflared_{name}"] for name in names}
    return {"method": variables["cloudflared_install_method"], **found}


def cloudflared_for(
    architecture: str, settings: Mapping[str, Any]
) -> DownloadedCloudflared | BroughtCloudflared:
    """The release that the *settings* ask for.

    :param settings: ``method`` (``url`` or ``file``), and what it needs: ``version``,
        ``download_url`` and ``checksums``, or ``binary_file`` and ``binary_sha256``.
    :raises TunnelError: if it is not pinned, or cannot be read.
    """
    if settings["method"] == "file":
        binary = Path(os.path.expanduser(str(settings["binary_file"])))
        return BroughtCloudflared(binary, str(settings["binary_sha256"]))
    return DownloadedCloudflared(
        str(settings["version"]), architecture, settings["download_url"], settings["checksums"]
    )


def _unreadable(binary: Path, error: OSError) -> TunnelError:
    return TunnelError(
        f"cloudflared_binary_file {binary}",
        f"cannot be read on the controller: {error.strerror}",
        "Give the path of the cloudflared binary for the hosts' architecture",
    )


def _install(source: IO[bytes], target: Path) -> str:
    """Copies *source* to the executable *target*; returns the SHA-256 of what was written.

    :raises OSError: if it cannot be read or written, or has no end.
    """
    target.parent.mkdir()
    digest = hashlib.sha256()
    left = _LARGEST
    with target.open("wb") as file:
        while block := source.read(_BLOCK):
            left -= len(block)
            if left < 0:
                raise OSError(f"it has more than {_LARGEST} bytes")
            digest.update(block)
            file.write(block)
    os.chmod(target, 0o755)  # noqa: S103
    return digest.hexdigest()


def _binary_of(archive: Path) -> str:
    """The SHA-256 of the binary in *archive*; empty if it is not an archive of that alone."""
    try:
        with tarfile.open(archive, "r|gz") as packed:
            member = packed.next()
            content = packed.extractfile(member) if member else None
            if not member or not content or member.size > _LARGEST:
                return ""
            digest = hashlib.sha256()
            while block := content.read(_BLOCK):
                digest.update(block)
            is_alone = packed.next() is None
    except (tarfile.TarError, OSError, EOFError, zlib.error):
        return ""
    is_binary = member.isreg() and (member.name, member.mode) == (_INSTALLED, 0o755)
    return digest.hexdigest() if is_binary and is_alone else ""
