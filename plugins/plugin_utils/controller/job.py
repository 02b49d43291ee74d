# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a run is a job, or has somebody before it who can answer a question.

A job gets a terminal of its own (a pty), so a question in it waits for ever: no process can tell
that terminal from one with a person before it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Variables that AWX and Tower give to every job.
_VARIABLES = ("awx_job_id", "tower_job_id")
# Set by ansible-runner for each of its runs, with AWX or without.
_ENVIRONMENT = "AWX_ISOLATED_DATA_DIR"


def is_platform_job(task_vars: Mapping[str, Any]) -> bool:
    """Whether the run is a job of AWX or Tower."""
    return any(name in task_vars for name in _VARIABLES)


def is_job(task_vars: Mapping[str, Any]) -> bool:
    """Whether a platform, or ansible-runner alone, has started the run."""
    return is_platform_job(task_vars) or bool(os.environ.get(_ENVIRONMENT))


def unattended(task_vars: Mapping[str, Any], process: int, root: Path = Path("/")) -> str:
    """The reason why nobody can answer a question; empty if somebody can.

    :param process: the number of ansible-playbook's process. A task has no terminal itself.
    """
    if is_platform_job(task_vars):
        return "this run is a job of AWX or Tower"
    if is_job(task_vars):
        return "this run was started by ansible-runner"
    if not _may_be_terminal(root / f"proc/{process}/fd/0"):
        return "the input of this run is no terminal"
    return ""


def _may_be_terminal(descriptor: Path) -> bool:
    """Whether it is a character device other than /dev/null, or nothing is known about it."""
    try:
        found = descriptor.stat()
    except OSError:  # a controller without /proc; Ansible's own question finds out
        return True
    return stat.S_ISCHR(found.st_mode) and found.st_rdev != os.stat(os.devnull).st_rdev
