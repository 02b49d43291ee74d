# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The places where the controller finds a file for its hosts.

With ``mcp_tunnel_bundle``, that bundle is the only place: what it lacks is an error, for nobody who
names a bundle expects downloads. Without, it is the seed, a bundle that an execution environment
brings along, then the cache; and at last the file is made, with an index or a download.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller import collection
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.bundle.reader import (
    Bundle,
    OtherVersionError,
)

#: The bundle of an execution environment.
SEED = Path("/usr/share/mcp_tunnels.stack/bundle")


class Artifact(Protocol):
    """A file that hosts get. Its name changes when its content would."""

    file_name: str
    #: Its name in messages: "the proxy for Python 3.11 on x86_64".
    title: str
    #: Its entry in the manifest of a bundle.
    entry: Mapping[str, str]
    #: Whether it is made of a file of the operator's, so that nothing has to be fetched.
    is_brought: bool
    #: Whether pip makes it.
    needs_pip: bool

    def is_cached(self) -> bool:
        """Whether the cache has a file of that name; its content counts only when it is taken."""

    def is_right(self, path: Path) -> bool:
        """Whether a file has what is pinned, if anything is."""

    def archive(self) -> Path:
        """The file in the cache, where it is made unless it is there.

        :raises TunnelError: if it cannot be made.
        """


class Places:
    """The places of a run.

    :param bundle: the value of ``mcp_tunnel_bundle``: a path, or nothing.
    :raises TunnelError: if that bundle, or the seed, is damaged or not to be trusted, or if that
        bundle is of another version of the collection.
    """

    def __init__(self, bundle: str = "", seed: Path | None = None) -> None:
        self._is_only = bool(bundle)
        self._bundle: Bundle | None = None
        self._subject = f"mcp_tunnel_bundle {bundle}"
        #: Why a seed is of no use, and with what; ``None`` if it is, or there is none.
        self.unfit: OtherVersionError | None = None
        place = seed or SEED
        if bundle:
            self._bundle = Bundle(Path(os.path.expanduser(bundle)), self._subject)
        elif os.path.lexists(place):
            self._subject = f"the bundle {place}"
            self._open_seed(place)

    def _open_seed(self, place: Path) -> None:
        try:
            self._bundle = Bundle(place, self._subject)
        except OtherVersionError as error:
            self.unfit = error

    def check(self) -> None:
        """Compares every file of the bundle with its sum.

        :raises TunnelError: for the first one that differs.
        """
        if self._bundle:
            self._bundle.check()

    def has(self, artifact: Artifact) -> bool:
        """Whether a place has the file, so that nothing has to be made."""
        return self.in_bundle(artifact) or (self.may_make(artifact) and artifact.is_cached())

    def in_bundle(self, artifact: Artifact) -> bool:
        """Whether there is a bundle, and has the file."""
        return self._bundle is not None and artifact.file_name in self._bundle.files

    def wheels(self, python: str, architecture: str) -> list[str]:
        """The SHA-256 of the compiled modules in each release of the bundle for such a host."""
        wanted = ("proxy", python, architecture)
        files = self._bundle.files.values() if self._bundle else []
        return [
            str(entry["wheel_sha256"])
            for entry in files
            if _target(entry) == wanted and "wheel_sha256" in entry
        ]

    def may_make(self, artifact: Artifact) -> bool:
        """Whether it may come from the cache, or be made."""
        return not self._is_only or artifact.is_brought

    @contextlib.contextmanager
    def taken(self, artifact: Artifact) -> Iterator[Path]:
        """The path of the file, from the first place that has it.

        :raises TunnelError: if no place has it and it cannot be made, or if it is damaged.
        """
        if self._bundle and self.in_bundle(artifact):
            with self._bundle.taken(artifact.file_name) as path:
                if not artifact.is_right(path):
                    raise TunnelError(
                        f"{self._subject}: {artifact.file_name}",
                        "is not what is pinned, although it has its sum",
                        "Do not use this bundle; assemble one anew",
                    )
                yield path
        elif self.may_make(artifact):
            yield artifact.archive()
        else:
            raise self.lack([artifact])

    def lack(self, artifacts: list[Artifact]) -> TunnelError:
        """The error for files that the only bundle does not have."""
        targets = [
            {name: artifact.entry[name] for name in ("python", "architecture")}
            for artifact in artifacts
            if artifact.entry["part"] == "proxy"
        ]
        wanted = f", and mcp_tunnel_bundle_targets to {json.dumps(targets)}" if targets else ""
        return TunnelError(
            self._subject,
            f"has no {' and no '.join(artifact.title for artifact in artifacts)}, of "
            f"{collection.NAME} {collection.version()}. It has {self._content()}"
            f"{self._changed_since(artifacts)}",
            f"Assemble one that has, with this version and the variables of these hosts: run "
            f"mcp_tunnels.stack.assemble with mcp_tunnel_bundle_dest set to a new place{wanted}",
        )

    def _changed_since(self, artifacts: list[Artifact]) -> str:
        """A remark on releases for the same hosts, which other code of the same version made."""
        known = {_target(entry) for entry in self._bundle.files.values()} if self._bundle else set()
        stale = [item for item in artifacts if _target(item.entry) in known]
        wanted = " and ".join(f"{item.entry['version']}" for item in stale if item.needs_pip)
        return f"; the collection has changed since, and now makes {wanted}" if wanted else ""

    def _content(self) -> str:
        files = self._bundle.files.values() if self._bundle else []
        return ", ".join(_named(entry) for entry in files if entry.get("version")) or "nothing"


def _target(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(entry.get(name) for name in ("part", "python", "architecture"))


def _named(entry: Mapping[str, Any]) -> str:
    return f"{entry.get('part')} {entry['version']}"
