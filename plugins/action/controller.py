# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gets ready on the controller what its hosts lack. Makes no connection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller.refusals import refusal
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.readiness import (
    Host,
    Readiness,
)

# Registered by mcp_tunnels.stack.host_check, settings, preflight and reached.
_HOST, _SETTINGS = "__mcp_tunnel_host", "__mcp_tunnel_settings"
_PLAN, _REACHED = "mcp_tunnel_plan", "__mcp_tunnel_reached"


class ActionModule(ActionBase):
    """Runs on the controller only, in check mode as well: it changes no host."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS: frozenset[str] = frozenset()

    def run(self, tmp: None = None, task_vars: Any = None) -> dict[str, Any]:
        """See the module's documentation."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        hosts, instances = _hosts(task_vars)
        ready = Readiness(hosts, task_vars["ansible_playbook_python"])
        stopped: dict[str, list[str]] = {}
        for failure in ready.failures:
            for instance in dict.fromkeys(instances[name] for name in failure.needed_by):
                stopped.setdefault(instance, []).append(str(failure.error))
        result.update(changed=False)
        if ready.warnings:
            result.update(warnings=ready.warnings)
        if stopped and stopped.keys() == set(instances.values()):
            headline = "The controller cannot ship what its hosts lack; no host was changed"
            result.update(refusal(headline, [failure.error for failure in ready.failures]))
        else:
            result.update(stopped=stopped)
        return result


def _hosts(task_vars: Mapping[str, Any]) -> tuple[dict[str, Host], dict[str, str]]:
    """The hosts of tunnels that can go on, and the instance of each."""
    hosts, instances = {}, {}
    stopped = task_vars.get(_REACHED, {}).get("stopped", {})
    for name in task_vars["ansible_play_hosts"]:
        # Each host is read once: its variables are worked out anew every time.
        known = task_vars["hostvars"][name]
        instance = known[_PLAN]["instance"]
        if instance not in stopped:
            hosts[name] = Host(known[_HOST]["facts"], known[_SETTINGS]["variables"])
            instances[name] = instance
    return hosts, instances
