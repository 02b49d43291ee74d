# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at the rules of a host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers.checked_module import (
    CheckedModule,
    Fields,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers.rules import (
    FINDINGS,
    ROWS,
    TEXT,
    flag,
    list_of,
    text,
)


class ActionModule(CheckedModule):
    """The answer is shown to the operator."""

    def fields(self, arguments: Mapping[str, Any]) -> Fields:
        """See the module's documentation."""
        return {"healthy": flag, "findings": FINDINGS, "rows": ROWS, "table": list_of(text(TEXT))}
