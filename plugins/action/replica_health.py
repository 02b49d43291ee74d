# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at every layer of a replica."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers.checked_module import (
    CheckedModule,
    Fields,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers.rules import (
    FINDINGS,
    FINGERPRINT,
    ROWS,
    TEXT,
    either,
    empty,
    flag,
    list_of,
    record,
    text,
)

_TEXTS = ("layer", "object", "detail", "remedy", "unit", "purpose")
_FIELDS = {
    "healthy": flag,
    "findings": list_of(
        record(
            {
                **{name: text(TEXT) for name in _TEXTS},
                "ok": flag,
                "required": flag,
            }
        )
    ),
    "drained": text(),
    "table": list_of(text(TEXT)),
    "ca_fingerprint": either(FINGERPRINT, empty),
    "firewall": record({"findings": FINDINGS, "rows": ROWS}),
}


class ActionModule(CheckedModule):
    """The answer is shown to the operator, and decides whether an old CA is archived."""

    def fields(self, arguments: Mapping[str, Any]) -> Fields:
        """See the module's documentation."""
        return _FIELDS

    def optional(self, arguments: Mapping[str, Any]) -> tuple[str, ...]:
        """The rows of the firewall are there only if the task asks for them."""
        return () if arguments.get("firewall") is not None else ("firewall",)
