# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at the hosts of the play once for all of them. Makes no connection."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller import forks
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.fleet import remaining

# Registered by mcp_tunnels.stack.group.
_GROUP = "__mcp_tunnel_group"
# Registered by mcp_tunnels.stack.reached.
_REACHED = "__mcp_tunnel_reached"

# All hosts have been looked at by now.
forks.spare_objects()


class ActionModule(ActionBase):
    """Runs on the controller only."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS: frozenset[str] = frozenset()

    def run(self, tmp: None = None, task_vars: Any = None) -> dict[str, Any]:
        """See the module's documentation."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        hosts = task_vars[_GROUP]["hosts"]
        replicas = {name: found["replicas"] for name, found in hosts.items()}
        here = task_vars["ansible_play_hosts"]
        batch = task_vars["ansible_play_batch"]
        left_out = task_vars.get(_REACHED, {}).get("left_out", [])
        failed = set(task_vars["groups"].get(remaining.FAILED, []))
        lost = set(task_vars["ansible_play_hosts_all"]).difference(here, left_out) | failed
        stopped = remaining.stopped(replicas, lost, here)
        result.update(
            changed=False,
            stopped=stopped,
            none=len(stopped) == len(here),
            firsts=remaining.firsts(replicas, batch),
            working=remaining.firsts(replicas, (name for name in batch if name not in failed)),
        )
        return result
