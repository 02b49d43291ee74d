# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ends a host's run if its preflight has found problems. Makes no connection."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller.refusals import refusal
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.fleet import shared_problems

# Registered by mcp_tunnels.stack.preflight.
_PLAN = "mcp_tunnel_plan"


class ActionModule(ActionBase):
    """Runs on the controller only."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS: frozenset[str] = frozenset()

    def run(self, tmp: None = None, task_vars: Any = None) -> dict[str, Any]:
        """See the module's documentation."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        hostvars = task_vars["hostvars"]

        def found(host: str) -> list[str]:
            # As it stands: a host cannot set it, as what is registered outranks facts.
            return list(hostvars[host].get(_PLAN, {}).get("problems", ()))

        host = task_vars["inventory_hostname"]
        problems = found(host)
        if problems:
            hosts = task_vars["ansible_play_hosts_all"]
            told, references = shared_problems.told_by(host, problems, hosts, found)
            if told or not self._task.any_errors_fatal:
                headline = shared_problems.headline(host, problems)
                result.update(refusal(headline, told + references))
            else:  # the hosts that tell its problems end the play for it, too
                result.update(changed=False, problems=references)
        else:
            result["changed"] = False
        return result
