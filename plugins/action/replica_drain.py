# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drains a replica in the name of this run, and brings it back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers.checked_module import (
    CheckedModule,
    Fields,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers.rules import (
    either,
    flag,
    list_of,
    record,
    text,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller.this_run import this_run

_DRAIN = {name: text() for name in ("since", "by", "why", "purpose")}


class ActionModule(CheckedModule):
    """The answer is shown to the operator."""

    def fields(self, arguments: Mapping[str, Any]) -> Fields:
        """See the module's documentation."""
        return {
            "actions": list_of(text()),
            "ended": flag,
            "drained": either(record({}), record(_DRAIN)),
        }

    def ask(
        self,
        task_vars: dict[str, Any],
        module: str | None = None,
        arguments: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """See the module's documentation."""
        by = self._task.args.get("by") or this_run(task_vars)["owner"]
        return super().ask(task_vars, module, {**self._task.args, "by": by})
