# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks that cloudflared gets its tunnel token from systemd; the edge plays no part in it."""

from __future__ import annotations

import shlex

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import drop_ins, systemd

_PROPERTIES = "DropInPaths,ExecMainStatus,SubState"
_EXIT_CREDENTIALS = "243"  # EXIT_CREDENTIALS (systemd.exec(5), process exit codes)


def problem(unit: str) -> TunnelError | None:
    """Why the unit has no credential; ``None`` if nothing shows."""
    text = systemd.systemctl("show", f"--property={_PROPERTIES}", unit)
    shown = dict(line.partition("=")[::2] for line in text.splitlines())
    for undone in drop_ins.undone_by(shlex.split(shown.get("DropInPaths", ""))):
        if undone.takes_the_token:
            return drop_ins.credential_problem(undone)
    if shown.get("ExecMainStatus") == _EXIT_CREDENTIALS and shown.get("SubState") != "running":
        return TunnelError(
            unit,
            "systemd cannot give it its credential, the tunnel token (status 243/CREDENTIALS)",
            "See that the file of LoadCredential= is there; one of LoadCredentialEncrypted= has to "
            "be encrypted on this host (the site playbook writes either). In a "
            "container, let it make mounts of its own (nesting: `security.nesting: true` of Incus, "
            "`features: nesting=1` of Proxmox)",
        )
    return None
