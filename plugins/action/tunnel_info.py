# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists tunnels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers.checked_module import (
    CheckedModule,
    Fields,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers.rules import (
    CERTIFICATE_OBJECT,
    IDENTIFIER,
    domain,
    either,
    empty,
    list_of,
    record,
    text,
)

_TUNNEL = record(
    {
        "id": IDENTIFIER,
        "domain": either(domain, empty),
        **{name: text() for name in ("display_name", "created_at", "archived_at")},
        "workspace_id": text(),
        "certificates": list_of(CERTIFICATE_OBJECT),
    }
)


class ActionModule(CheckedModule):
    """The answer is the operator's; only its shape is known here."""

    def fields(self, arguments: Mapping[str, Any]) -> Fields:
        """See the module's documentation."""
        return {"tunnels": list_of(_TUNNEL), "result": _anything}

    def optional(self, arguments: Mapping[str, Any]) -> tuple[str, ...]:
        """Without a query, there is no result of one."""
        return ("result",)


def _anything(value: Any) -> str:
    """Accepts any result of a query on the list; the size of all answers is limited elsewhere."""
    return ""
