# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The run that this process belongs to, as its lease names it on a state host."""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import multiprocessing
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError

# A machine, its boot, and the processes that are seen here: each container has its own.
_MACHINE = ("etc/machine-id", "proc/sys/kernel/random/boot_id")
_PROCESSES = "proc/self/ns/pid"
_OWNER = 120
"""Characters of an owner, at most."""


def this_run(task_vars: Mapping[str, Any], root: Path = Path("/")) -> dict[str, str]:
    """Id, owner, controller and process of the run.

    A task runs in a child of ansible-playbook, whose process is that of the run.

    :raises TunnelError: if that was killed. The task has gone to process 1, which does not end, so
        a lease in its name would outlive the run.
    """
    parent = multiprocessing.parent_process()
    pid = parent.pid if parent and parent.pid else os.getpid()
    if parent and os.getppid() != pid:
        raise TunnelError("This run", f"its process, {pid}, was killed", "Run again")
    controller = _controller(root)
    process = f"{pid}:{_started(pid, root)}"
    identity = hashlib.sha256(f"{controller} {process}".encode()).hexdigest()[:16]
    return {
        "id": identity,
        "owner": _owner(task_vars, pid),
        "controller": controller,
        "process": process,
    }


def has_ended(run: Mapping[str, Any], root: Path = Path("/")) -> bool:
    """Whether the run was one of this controller and its process is gone."""
    if run["controller"] != _controller(root):
        return False
    pid, _colon, started = str(run["process"]).partition(":")
    found = _started(int(pid), root)
    return found != started if found else not _exists(int(pid))


def _exists(pid: int) -> bool:
    """Whether there is a process of this number, also one that proc(5) hides from other users."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _controller(root: Path) -> str:
    parts = [socket.gethostname()]
    for name in _MACHINE:
        with contextlib.suppress(OSError):
            parts.append((root / name).read_text(encoding="utf-8").strip())
    with contextlib.suppress(OSError):
        parts.append(os.readlink(root / _PROCESSES))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _started(pid: int, root: Path) -> str:
    """When a process started, in ticks since the boot (proc(5)); empty if there is none."""
    try:
        text = (root / f"proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    # The name of the program, which may have spaces and brackets, ends with the last bracket.
    return text.rpartition(")")[2].split()[19]


def _owner(task_vars: Mapping[str, Any], pid: int) -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        # A container's user need not have a name.
        user = str(os.getuid())
    told = f"{user} on {socket.gethostname()}, process {pid}"
    job = task_vars.get("awx_job_id", task_vars.get("tower_job_id", ""))
    told += f", job {job}" if job else ""
    return "".join(letter for letter in told if letter.isprintable())[:_OWNER]
