# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks that the controller has the tools to assemble the releases that its hosts lack."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller.cache import cache_root
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.proxy import (
    Target,
    release_for,
)

_SECONDS = 60  # pip starts in less than one


def check_controller(hosts: Mapping[str, Mapping[str, Any]], python: str) -> list[TunnelError]:
    """Everything that this controller lacks. Without a release to assemble, it needs nothing.

    :param hosts: the facts of host_check by inventory host.
    :param python: Ansible's own interpreter on the controller.
    """
    try:
        waiting = list(_waiting(hosts, python))
    except TunnelError as error:
        return [error]
    if not waiting or _has_pip(python):
        return []
    return [
        TunnelError(
            f"pip on the controller, for {python}",
            f"is not installed, and assembles the proxy's release for {', '.join(waiting)}",
            f"Install it: the package python3-pip, or in a virtual environment {python} -m "
            "ensurepip (uv: uv pip install pip). Without it, the release can come from another "
            f"controller's cache, {cache_root()}",
        )
    ]


def _waiting(hosts: Mapping[str, Mapping[str, Any]], python: str) -> Iterator[str]:
    """The hosts that run another release than ours, which is not in the cache."""
    for name, facts in hosts.items():
        release = release_for(Target(facts["python_version"], facts["architecture"]), python)
        if facts["releases"].get("proxy") != release.version and not release.is_assembled():
            yield name


def _has_pip(python: str) -> bool:
    command = [python, "-m", "pip", "--version"]
    # Run as later on: without a pip from the directory in which Ansible was started.
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    try:
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, check=False, env=environment, timeout=_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
