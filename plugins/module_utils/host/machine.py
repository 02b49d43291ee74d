# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine itself, and whether it has to be booted again."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
from pathlib import Path

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError

_BOOT_ID = "proc/sys/kernel/random/boot_id"
_PROCESSES = "proc/1/ns/pid"
# Debian's packages leave this file (update-notifier, unattended-upgrades).
_REQUIRED = "run/reboot-required"
_DEBIAN = "etc/debian_version"
_NEEDED, _NOT_NEEDED = 1, 0  # exit statuses of needs-restarting(1) -r
_SECONDS = 120


def machine(root: Path = Path("/")) -> str:
    """A mark that tells running machines apart, however they are called; not to be stored.

    machine-id(5) alone does not: careless clones share it. Nor does the boot ID: containers of one
    host share that, and cloned containers share both; but each has processes of its own.
    """
    parts = []
    for name in ("etc/machine-id", _BOOT_ID):
        with contextlib.suppress(OSError):
            parts.append((root / name).read_text(encoding="utf-8", errors="replace"))
    with contextlib.suppress(OSError):
        parts.append(os.readlink(root / _PROCESSES))
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:16]


def reboot_needed(root: Path = Path("/")) -> bool:
    """Whether updates wait for a reboot, as the distribution says it.

    :raises TunnelError: if the distribution's tool for that is missing, or does not say it.
    """
    if (root / _DEBIAN).exists():
        return (root / _REQUIRED).exists()
    try:
        done = subprocess.run(
            ["needs-restarting", "-r"],  # noqa: S607
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _unknown(str(error)) from None
    if done.returncode not in (_NEEDED, _NOT_NEEDED):
        raise _unknown(f"exit status {done.returncode}: {done.stderr.strip()[:200]}")
    return done.returncode == _NEEDED


def _unknown(why: str) -> TunnelError:
    return TunnelError(
        "needs-restarting",
        f"does not say whether a reboot is needed ({why})",
        "Install yum-utils or dnf-utils, or set mcp_tunnel_reboot_when: always",
    )
