# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The signing key of a package repository, pinned by its fingerprint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ansible.module_utils.urls import open_url
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller.cache import (
    cached,
    is_cached,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases import openpgp

_TIMEOUT_SECONDS = 30
_LARGEST = 1 << 20


class RepositoryKey:
    """The key at *url* with that *fingerprint*, in its text form; an Artifact.

    :raises TunnelError: if the fingerprint is none.
    """

    is_brought = False
    needs_pip = False

    def __init__(self, url: str, fingerprint: str) -> None:
        self._url = url
        self._fingerprint = openpgp.parse_fingerprint(fingerprint)
        self.file_name = f"key-{self._fingerprint}.asc"
        self.title = f"repository key {self._fingerprint}"
        self.entry: Mapping[str, str] = {"part": "repository key", "version": self._fingerprint}

    def archive(self) -> Path:
        """The key's file. Raises :class:`TunnelError` if it cannot be had, or is another key."""
        return cached(self.file_name, self._download, self.is_right)

    def is_cached(self) -> bool:
        """See :class:`places.Artifact`. Raises :class:`TunnelError` if the cache has no place."""
        return is_cached(self.file_name)

    def is_right(self, path: Path) -> bool:
        """Whether the file is the key with this fingerprint, in the form that hosts get."""
        try:
            packets = openpgp.dearmor(path.read_bytes()[:_LARGEST])
            return openpgp.primary_fingerprints(packets) == [
                self._fingerprint
            ] and path.read_text() == openpgp.armor(packets)
        except ValueError:
            return False

    def _download(self, path: Path) -> None:
        try:
            with open_url(self._url, timeout=_TIMEOUT_SECONDS) as answer:
                packets = openpgp.dearmor(answer.read(_LARGEST))
            found = openpgp.primary_fingerprints(packets)
            if found != [self._fingerprint]:
                raise ValueError(
                    f"its fingerprint is {', '.join(found)}, pinned is {self._fingerprint}"
                )
        except Exception as error:  # open_url raises the errors of all its layers
            raise TunnelError(
                self._url,
                str(error),
                "Do not use this key before you know why; if the vendor has a new one, set "
                "cloudflared_package_key_url and cloudflared_package_key_fingerprint",
            ) from error
        path.write_text(openpgp.armor(packets))
