# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Labels of SELinux on files, as the host's policy wants them; restorecon(8) knows them.

A file that is made gets the label of its directory. Below ``/opt`` that is not the one of a
program, so systemd would start a service from it in its own domain, and not in that of a service.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError

# Exists while SELinux is enabled, enforcing or permissive.
SELINUXFS = Path("/sys/fs/selinux/enforce")
PROGRAMS = (Path("/usr/sbin/restorecon"), Path("/sbin/restorecon"))
# One line a file, of policycoreutils 2.6 and later, and of earlier ones.
_LINE = re.compile(r"^(?:Would relabel|Relabeled|restorecon reset) (/.*?) (?:from|context) ", re.M)


def wrong(tree: Path) -> list[str]:
    """Paths of *tree* whose labels are others than the policy's.

    None where SELinux is disabled, where there is no restorecon, or no *tree*.

    :raises TunnelError: if restorecon fails.
    """
    return _run(tree, ["-n"])


def restore(tree: Path) -> list[str]:
    """Gives *tree* the labels of the policy; returns the paths that had others.

    :raises TunnelError: if restorecon fails.
    """
    return _run(tree, [])


def _run(tree: Path, options: list[str]) -> list[str]:
    program = next((path for path in PROGRAMS if path.exists()), None)
    if program is None or not SELINUXFS.exists() or not tree.exists():
        return []
    command = [str(program), *options, "-R", "-v", str(tree)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise TunnelError(
            str(tree),
            f"SELinux: restorecon failed: {done.stderr.strip() or f'status {done.returncode}'}",
            f"Run restorecon -Rv {tree} on the host, and then the playbook again",
        )
    return _LINE.findall(done.stdout + done.stderr)
