# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds a release on the controller, or makes it, and ships it when the host does not have it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica.releases import Releases
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers.checked_module import (
    CheckedModule,
    Fields,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers.rules import (
    RELEASE,
    flag,
    text,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.cloudflared import (
    BroughtCloudflared,
    DownloadedCloudflared,
    cloudflared_for,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.places import Places
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.proxy import (
    ARCHITECTURES,
    ProxyRelease,
    Target,
    release_for,
)

_HOST_MODULE = "mcp_tunnels.stack.release_tree"
_PACKAGED = "package"
_PACKAGED_BINARY = "/usr/bin/cloudflared"
_ARGUMENTS = {
    "part": {"type": "str", "required": True, "choices": ["proxy", "cloudflared"]},
    "architecture": {"type": "str", "required": True, "choices": list(ARCHITECTURES)},
    "python_version": {"type": "str"},
    "method": {"type": "str", "choices": ["url", "file", "package"]},
    "version": {"type": "str"},
    "download_url": {"type": "str"},
    "checksums": {"type": "dict", "default": {}},
    "binary_file": {"type": "path"},
    "binary_sha256": {"type": "str", "default": ""},
    "active": {"type": "str"},
    "unpacked": {"type": "list", "elements": "str"},
    "bundle": {"type": "path", "default": ""},
}
_NEEDS = [
    ("part", "proxy", ["python_version"]),
    ("part", "cloudflared", ["method"]),
    ("method", "url", ["version", "download_url"]),
    ("method", "file", ["binary_file"]),
]


class ActionModule(CheckedModule):
    """One call on the host says whether the release is there; a second one unpacks it.

    None is needed when the host is known to run that release, and not the first when it is known
    to lack it.
    """

    TRANSFERS_FILES = False  # a temporary directory on the host is made only when it is needed
    _VALID_ARGS = frozenset(_ARGUMENTS)

    def fields(self, arguments: Mapping[str, Any]) -> Fields:
        """The fields that release_tree returns."""
        return {"present": flag, "path": text(), "version": RELEASE}

    def ask(
        self,
        task_vars: dict[str, Any],
        module: str | None = None,
        arguments: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """See the module's documentation."""
        _validation, options = self.validate_argument_spec(_ARGUMENTS, required_if=_NEEDS)
        return self._ship(options, task_vars)

    def _ship(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        if arguments["method"] == "package":
            if arguments["active"] == _PACKAGED:
                return _found(arguments["part"], _PACKAGED)
            request = {"version": _PACKAGED, "links_to": _PACKAGED_BINARY}
            return self._on_host({"part": arguments["part"], **request}, task_vars)
        places = Places(arguments["bundle"])
        artifact = _artifact(arguments, task_vars["ansible_playbook_python"], places)
        if arguments["active"] == artifact.version:
            return _found(arguments["part"], artifact.version)
        request = {"part": arguments["part"], "version": artifact.version}
        if arguments["unpacked"] is None or artifact.version in arguments["unpacked"]:
            found = self._on_host(request, task_vars)
            if found.get("failed") or found["present"]:
                return found
        # Also in check mode: a run without the archive would fail.
        with places.taken(artifact) as archive:
            if self._task.check_mode:
                known = _found(arguments["part"], artifact.version)
                return {**known, "changed": True, "present": False}
            return self._transfer(archive, request, task_vars)

    def _transfer(
        self, archive: Path, request: dict[str, Any], task_vars: dict[str, Any]
    ) -> dict[str, Any]:
        # Without pipelining, the first call has already made a directory. Ansible knows of one
        # directory only, and removes that one when the task ends.
        directory = self._connection._shell.tmpdir or self._make_tmp_path()
        remote = self._connection._shell.join_path(directory, "release.tar.gz")
        self._transfer_file(str(archive), remote)
        self._fixup_perms2((directory, remote))
        return self._on_host({**request, "archive": remote}, task_vars)

    def _on_host(self, request: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        answer = super().ask(task_vars, _HOST_MODULE, request)
        # The controller knows the path and the version, so the host's word for them does not count.
        known = _found(request["part"], request["version"])
        return {**answer, "path": known["path"], "version": known["version"]}


def _found(part: str, version: str) -> dict[str, Any]:
    """The answer that release_tree gives for a release that is there."""
    path = str(Releases(part).path(version))
    return {"changed": False, "present": True, "path": path, "version": version}


def _artifact(
    arguments: dict[str, Any], python: str, places: Places
) -> ProxyRelease | DownloadedCloudflared | BroughtCloudflared:
    if arguments["part"] == "proxy":
        target = Target(arguments["python_version"], arguments["architecture"])
        return release_for(target, python, places)
    return cloudflared_for(arguments["architecture"], arguments)
