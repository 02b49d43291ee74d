# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the project of AWX or Tower. Makes no connection."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.awx import names, project
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller.refusals import refusal


class ActionModule(ActionBase):
    """Runs on the controller only."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset(("dest", "replace", "requirements"))

    def run(self, tmp: None = None, task_vars: Any = None) -> dict[str, Any]:
        """See the module's documentation."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(
            {
                "dest": {"type": "str", "required": True},
                "requirements": {"type": "bool", "default": False},
                "replace": {"type": "bool", "default": False},
            }
        )
        problems = list(names.check(task_vars))
        changes: list[project.Change] = []
        try:
            files = project.files(arguments["requirements"])
            changes = project.changes(arguments["dest"], files)
        except TunnelError as error:
            problems.append(error)
        if not arguments["replace"]:
            problems += [project.not_ours(change) for change in changes if change.is_foreign]
        if problems:
            return {**result, **refusal("The project was not written", problems)}
        if not self._task.check_mode:
            try:
                project.write(changes)
            except OSError as error:
                return {**result, **refusal("The project was not written", [project.stuck(error)])}
        result.update(changed=bool(changes), msg=project.told(arguments["dest"], changes))
        result["_ansible_verbose_always"] = True
        if self._task.diff:
            result["diff"] = [change.diff() for change in changes]
        return result
