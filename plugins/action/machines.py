# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares the hosts that turned out to be one machine. Makes no connection."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller.refusals import refusal
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import neighbours


class ActionModule(ActionBase):
    """Runs on the controller only."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset(("found", "group"))

    def run(self, tmp: None = None, task_vars: Any = None) -> dict[str, Any]:
        """See the module's documentation."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(
            {
                "found": {"type": "dict", "required": True},
                "group": {"type": "str", "default": "mcp_tunnel"},
            }
        )
        group = {
            name: neighbours.taken(task_vars["hostvars"][name])
            for name in task_vars["groups"].get(arguments["group"], [])
        }
        problems = neighbours.check_machines(group, arguments["found"])
        result.update(changed=False)
        if problems:
            headline = (
                "Hosts of the inventory are names of one machine (they have the same "
                "/etc/machine-id, the same boot and the same process 1); nothing was changed on "
                "any host"
            )
            result.update(refusal(headline, problems))
        return result
