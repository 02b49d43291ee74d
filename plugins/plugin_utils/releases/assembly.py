# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Assembles a bundle for hosts that need not be there: from variables alone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.values import (
    check_path,
    shape,
    shown,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.bundle.sbom import (
    check_library,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.bundle.writer import Draft
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.cloudflared import (
    cloudflared_for,
    settings_of,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.controller_tools import (
    Wanted,
    get_ready,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.places import (
    Artifact,
    Places,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.proxy import (
    Target,
    release_for,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.repository_key import (
    RepositoryKey,
)

_TARGETS = "mcp_tunnel_bundle_targets"
_DEST = "mcp_tunnel_bundle_dest"
_KEYS = {"python", "architecture"}
_EXAMPLE = 'Write it like [{"python": "3.11", "architecture": "x86_64"}]'
#: Stands for every patch level: releases are the same for all of them but the very first of 3.9.
_PATCH = "99"
_OLDEST = 9


class Assembly:
    """The bundle that the *values* of the public variables ask for.

    :param python: Ansible's own interpreter on the controller.

    Attributes:
        problems: everything that is wrong with the variables or this controller; nothing has been
            made then.
    """

    def __init__(self, values: Mapping[str, Any], python: str) -> None:
        self.problems: list[TunnelError] = []
        self._values = values
        self._python = python
        self._dest, self._targets = Path(), list[Target]()
        with self._noted():
            self._dest = _dest(values[_DEST])
        with self._noted():
            self._targets = parse_targets(values[_TARGETS])
        with self._noted():
            check_library()

    def make(self, check_mode: bool) -> dict[str, Any]:
        """Gets everything ready and writes the bundle, unless it is there; returns what is in it.

        Check mode does not write it. Files that could not be had are in :attr:`problems`.

        :raises TunnelError: if the bundle cannot be written.
        """
        places = Places()
        artifacts = list(_artifacts(self._targets, self._values, self._python, places))
        wanted = [Wanted(artifact, ["the bundle"]) for artifact in artifacts]
        self.problems += [item.error for item in get_ready(places, wanted, self._python)]
        if self.problems:
            return {}
        entries = {artifact.file_name: artifact.entry for artifact in artifacts}
        with contextlib.ExitStack() as stack:
            archives = {
                artifact.file_name: stack.enter_context(places.taken(artifact))
                for artifact in artifacts
            }
            draft = Draft(self._dest, archives, entries)
            draft.check_place()
            changed = not draft.is_there()
            if changed and not check_mode:
                draft.write()
        return {"changed": changed, "path": str(self._dest), "files": draft.names()}

    @contextlib.contextmanager
    def _noted(self) -> Iterator[None]:
        try:
            yield
        except TunnelError as error:
            self.problems.append(error)


def parse_targets(value: Any) -> list[Target]:
    """The hosts' Pythons and architectures in the variable.

    :raises TunnelError: if it names none, or one that no host can have.
    """
    if not isinstance(value, list) or not value:
        raise TunnelError(_TARGETS, f"must be a list of maps, is {shape(value)}", _EXAMPLE)
    return list(dict.fromkeys(_target(f"{_TARGETS}[{at}]", item) for at, item in enumerate(value)))


def _target(subject: str, item: Any) -> Target:
    if not isinstance(item, Mapping) or set(item) != _KEYS:
        raise TunnelError(subject, "must be a map of python and architecture", _EXAMPLE)
    python = item["python"]
    if not isinstance(python, str):
        # 3.10 without quotes is 3.1 to YAML.
        raise TunnelError(subject, f"python is {shape(python)}", "Write it in quotes: '3.11'")
    full = f"{python}.{_PATCH}" if python.count(".") == 1 else python
    try:
        target = Target(full, str(item["architecture"]))
    except TunnelError as error:
        problem = f"{error.subject} {error.problem.removeprefix('the host says ')}"
        raise TunnelError(subject, problem, _EXAMPLE) from None
    if int(target.python.partition(".")[2]) < _OLDEST:
        raise TunnelError(subject, f"python is {shown(python)}", f"Hosts need 3.{_OLDEST} or later")
    return target


def _dest(value: Any) -> Path:
    path = check_path(os.path.expanduser(value) if isinstance(value, str) else value, _DEST)
    if not path.strip("/."):
        raise TunnelError(_DEST, "is the root directory", "Name a place of its own")
    return Path(os.path.normpath(path))


def _artifacts(
    targets: list[Target], values: Mapping[str, Any], python: str, places: Places
) -> Iterator[Artifact]:
    """Each file once: targets of one Python and different patch levels mostly share theirs."""
    found: dict[str, Artifact] = {}
    for target in targets:
        release = release_for(target, python, places)
        found.setdefault(release.file_name, release)
    settings = settings_of(values)
    for architecture in sorted({target.architecture for target in targets}):
        if settings["method"] != "package":
            binary = cloudflared_for(architecture, settings)
            found.setdefault(binary.file_name, binary)
    if settings["method"] == "package":
        key = RepositoryKey(
            values["cloudflared_package_key_url"], values["cloudflared_package_key_fingerprint"]
        )
        found[key.file_name] = key
    yield from found.values()
