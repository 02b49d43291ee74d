# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cloudflared release: a pinned download, or a binary that is on the controller."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from ansible.module_utils.urls import open_url
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.cloudflared_pins import (
    VENDOR_ARCHITECTURES,
    pinned_checksum,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.cache import (
    cached,
    scratch_directory,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.tarball import pack

_BLOCK = 1 << 20
_TIMEOUT_SECONDS = 60


class DownloadedCloudflared:
    """cloudflared *version* for one *architecture* (``uname -m``), from below *base_url*.

    *checksums* maps architectures to the SHA-256 of versions that the collection does not pin.
    """

    def __init__(
        self, version: str, architecture: str, base_url: str, checksums: Mapping[str, str]
    ) -> None:
        self._checksum = pinned_checksum(version, architecture, checksums)
        name = f"cloudflared-linux-{VENDOR_ARCHITECTURES[architecture]}"
        self._url = f"{base_url.rstrip('/')}/{version}/{name}"
        self.version = f"{version}-{self._checksum[:8]}"

    def archive(self) -> Path:
        """The release as tar.gz. Raises :class:`TunnelError` if it cannot be had as pinned."""
        return cached(f"cloudflared-{self._checksum}.tar.gz", self._build)

    def _build(self, archive: Path) -> None:
        with scratch_directory(archive.parent) as scratch:
            binary = scratch / "cloudflared"
            self._download(binary)
            found = sha256_of(binary)
            if found != self._checksum:
                raise TunnelError(
                    self._url,
                    f"its SHA-256 is {found}, pinned is {self._checksum}",
                    "Do not use this file; if cloudflared_checksums was set by hand, compare it "
                    "with "
                    "the vendor's release notes",
                )
            _pack_binary(binary, scratch / "tree", archive)

    def _download(self, target: Path) -> None:
        try:
            with open_url(self._url, timeout=_TIMEOUT_SECONDS) as answer, target.open("wb") as file:
                shutil.copyfileobj(answer, file, _BLOCK)
        except Exception as error:  # open_url raises whatever its many layers raise
            raise TunnelError(
                self._url,
                f"cannot be downloaded on the controller: {error}",
                "Let the controller reach it, set cloudflared_download_url to a mirror, or bring "
                "the "
                "binary with cloudflared_install_method: file and cloudflared_binary_file",
            ) from error


class BroughtCloudflared:
    """A cloudflared binary on the controller, with SHA-256 *checksum* unless that is empty."""

    def __init__(self, binary: Path, checksum: str = "") -> None:
        try:
            self._checksum = sha256_of(binary)
        except OSError as error:
            raise TunnelError(
                f"cloudflared_binary_file {binary}",
                f"cannot be read on the controller: {error.strerror}",
                "Give the path of the cloudflared binary for the hosts' architecture",
            ) from error
        if checksum and checksum.lower() != self._checksum:
            raise TunnelError(
                f"cloudflared_binary_file {binary}",
                f"its SHA-256 is {self._checksum}, cloudflared_binary_sha256 says {checksum}",
                "Bring the file that was meant, or correct the sum",
            )
        self._binary = binary
        self.version = f"file-{self._checksum[:16]}"

    def archive(self) -> Path:
        """The release as tar.gz."""
        return cached(f"cloudflared-{self._checksum}.tar.gz", self._build)

    def _build(self, archive: Path) -> None:
        with scratch_directory(archive.parent) as scratch:
            _pack_binary(self._binary, scratch / "tree", archive)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in lower-case hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _pack_binary(binary: Path, tree: Path, archive: Path) -> None:
    installed = tree / "bin" / "cloudflared"
    installed.parent.mkdir(parents=True)
    shutil.copyfile(binary, installed)
    os.chmod(installed, 0o755)  # noqa: S103
    pack(tree, archive)
