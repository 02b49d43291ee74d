# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a replica could renew its certificate by itself: nothing is signed to find that out."""

from __future__ import annotations

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import systemd
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki import signing_channel
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica.finding import Finding

_LAYER = "renewal"
# Longer than ssh takes to find out that nobody answers.
_SECONDS = 30.0


def look(instance: str) -> Finding:
    """The row of the renewal. A replica without it works, until its certificate ends."""
    name = f"mcp-tunnel-renew-cert@{instance}.timer"
    timer = systemd.show([name])[0]
    if not timer.running:
        detail = timer.active if timer.loaded else "not installed"
        return Finding(
            _LAYER, name, False, detail, "Run the site playbook, which starts it", required=False
        )
    try:
        said = signing_channel.ask(
            signing_channel.socket_path(instance), signing_channel.CHECK, seconds=_SECONDS
        )
    except TunnelError as error:
        detail = f"{error.subject} {error.problem}"
        return Finding(_LAYER, name, False, detail, error.remedy, required=False)
    return Finding(_LAYER, name, True, f"the state host {said[:200]}")
