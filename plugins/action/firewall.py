# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Loads, confirms and removes the rules of a host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers.checked_module import (
    CheckedModule,
    Fields,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers.rules import (
    flag,
    list_of,
    text,
)

_ALWAYS = {"actions": list_of(text())}
_BY_STATE = {
    "loaded": {"armed": flag, "proven": flag},
    "restored": {"restored": flag},
    "absent": {"last": flag},
}


class ActionModule(CheckedModule):
    """The answer decides whether the rules are confirmed over a new connection."""

    def fields(self, arguments: Mapping[str, Any]) -> Fields:
        """See the module's documentation."""
        return {**_ALWAYS, **_BY_STATE.get(arguments.get("state", "loaded"), {})}

    def optional(self, arguments: Mapping[str, Any]) -> tuple[str, ...]:
        """Check mode says less."""
        return tuple(self.fields(arguments)) if self._task.check_mode else ()
