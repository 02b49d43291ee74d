# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sums up a run over all tunnels. Makes no connection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.fleet import summary

# The results in which a failure is found, the last one first.
_RESULTS = (
    "__mcp_tunnel_failure",
    "__mcp_tunnel_refused",
    "__mcp_tunnel_health",
    "__mcp_tunnel_applied",
    "__firewall_loaded",
    "__cloudflared_file_set",
    "__proxy_file_set",
    "__cloudflared_release",
    "__proxy_release",
    "__mcp_tunnel_host",
)


class ActionModule(ActionBase):
    """Runs on the controller only."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS: frozenset[str] = frozenset()

    def run(self, tmp: None = None, task_vars: Any = None) -> dict[str, Any]:
        """See the module's documentation."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        here = set(task_vars["ansible_play_hosts"])
        hosts = {}
        # Each host is read once: its variables are worked out anew every time.
        for name in task_vars["ansible_play_hosts_all"]:
            hostvars = task_vars["hostvars"][name]
            plan = hostvars.get("mcp_tunnel_plan", {})
            hosts[name] = summary.Host(
                instance=plan.get("instance", ""),
                domain=plan.get("domain", ""),
                failure="" if name in here else _failure(hostvars),
                touched="__mcp_tunnel_applied" in hostvars,
            )
        reached = task_vars.get("__mcp_tunnel_reached", {})
        ready = task_vars.get("__mcp_tunnel_ready", {})
        stopped = {name: " ".join(told) for name, told in ready.get("stopped", {}).items()}
        stopped.update(reached.get("stopped", {}))
        told = summary.lines(hosts, stopped, reached.get("left_out", []))
        result.update(changed=False, msg=told, _ansible_verbose_always=True)
        return result


def _failure(hostvars: Mapping[str, Any]) -> str:
    for name in _RESULTS:
        found = hostvars.get(name)
        if isinstance(found, Mapping) and found.get("unreachable"):
            return "it could not be reached."
        if isinstance(found, Mapping) and found.get("failed"):
            return summary.reason(found)
    return "it failed, or could not be reached any more; see its message above."
