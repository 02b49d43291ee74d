# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A dead man's switch: systemd takes rules back, unless somebody stops it in time."""

from __future__ import annotations

import subprocess
from pathlib import Path

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall import table as nft_table
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import systemd


def arm(instance: str, seconds: int, rules: Path) -> None:
    """Lets systemd load the file *rules* after that time, or, without it, remove our table.

    The timer is transient: a reboot, which loads what is on disk, also ends it.

    :raises TunnelError: if systemd refuses.
    """
    disarm(instance)
    table = " ".join(nft_table.TABLE)
    script = (
        f"if test -e {rules}; then exec {nft_table.NFT} -f {rules}; "
        f"else exec {nft_table.NFT} delete table {table}; fi"
    )
    command = [
        *("systemd-run", "--quiet", "--collect", f"--unit={_name(instance)}"),
        f"--description=Rules on trial of instance {instance} are taken back",
        *(f"--on-active={seconds}", "--timer-property=AccuracySec=100ms"),
        *("/bin/sh", "-c", script),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise TunnelError(
            "firewall_rollback_timeout",
            f"systemd-run failed, so new rules were not loaded: {done.stderr.strip()}",
            "Look at journalctl -u init.scope",
        )


def disarm(instance: str) -> bool:
    """Stops the timer; returns whether that was still in time."""
    timer = f"{_name(instance)}.timer"
    state = systemd.show([timer])[0]
    if state.active == "active":
        systemd.systemctl("stop", timer)
    return state.sub == "waiting"


def _name(instance: str) -> str:
    return f"mcp-tunnel-firewall-rollback-{instance}"
