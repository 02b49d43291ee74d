# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the controller is a container, which ends with its job and takes its files along."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller import job

# Docker's and Podman's marks.
_MARKS = (".dockerenv", "run/.containerenv")
# systemd-nspawn, Podman and LXC say it in the environment; Kubernetes has its API's address there.
_ENVIRONMENT = ("container", "KUBERNETES_SERVICE_HOST")


def is_container(task_vars: Mapping[str, Any], root: Path = Path("/")) -> bool:
    """Whether there is a mark of a container, or the run is a job of AWX or Tower."""
    return (
        any((root / mark).exists() for mark in _MARKS)
        or any(os.environ.get(name) for name in _ENVIRONMENT)
        or job.is_platform_job(task_vars)
    )
