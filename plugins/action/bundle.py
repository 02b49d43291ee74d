# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Assembles a bundle on the controller. Makes no connection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller.refusals import refusal
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import (
    cloudflared,
    role_options,
    unknown_names,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.assembly import Assembly

# Registered by mcp_tunnels.stack.settings, without output.
_SETTINGS = "__mcp_tunnel_settings"
_READ = ("cloudflared_", "mcp_tunnel_bundle")


class ActionModule(ActionBase):
    """Runs on the controller only."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS: frozenset[str] = frozenset()

    def run(self, tmp: None = None, task_vars: Any = None) -> dict[str, Any]:
        """See the module's documentation."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        settings = task_vars[_SETTINGS]
        assembly = Assembly(settings["variables"], task_vars["ansible_playbook_python"])
        problems = _check(settings, task_vars) + assembly.problems
        try:
            if not problems:
                result.update(assembly.make(self._task.check_mode))
                problems = assembly.problems
        except TunnelError as error:
            problems = [error]
        if problems:
            result.update(refusal("No bundle was made", problems))
        return result


def _check(settings: Mapping[str, Any], task_vars: Mapping[str, Any]) -> list[TunnelError]:
    """The problems with those variables that a bundle depends on."""
    values = settings["variables"]
    problems = [
        TunnelError(name, f"has no value: {reason}", "Mend its source, or define what it uses")
        for name, reason in settings["undefined"].items()
        if name.startswith(_READ)
    ]
    problems += unknown_names.check_names(task_vars, values[unknown_names.OTHERS])
    problems += cloudflared.check_cloudflared(values)
    told = {problem.subject.partition("[")[0] for problem in problems}
    return problems + [
        problem
        for problem in role_options.type_problems(values)
        if problem.subject.startswith("cloudflared_") and problem.subject not in told
    ]
