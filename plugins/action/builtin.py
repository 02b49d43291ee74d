# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a module of ansible-core on a host; hands on none of its answer's own keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers.checked_module import (
    CheckedModule,
    Fields,
)

_MODULES = ("apt", "command", "dnf", "systemd_service", "user")


class ActionModule(CheckedModule):
    """Without this, facts in the answer would become variables, even those for connections."""

    _VALID_ARGS = frozenset(("module", "arguments"))

    def fields(self, arguments: Mapping[str, Any]) -> Fields:
        """No fields: nothing needs more than whether it changed, or why it failed."""
        return {}

    def ask(
        self,
        task_vars: dict[str, Any],
        module: str | None = None,
        arguments: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """See the module's documentation."""
        _validation, options = self.validate_argument_spec(
            {
                "module": {
                    "type": "str",
                    "required": True,
                    "choices": [f"ansible.builtin.{name}" for name in _MODULES],
                },
                "arguments": {"type": "dict", "required": True},
            }
        )
        return super().ask(task_vars, options["module"], options["arguments"])
