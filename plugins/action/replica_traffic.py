# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes the counts of a replica's proxy."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers.checked_module import (
    CheckedModule,
    Fields,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers.rules import (
    either,
    list_of,
    matching,
    number,
    record,
    text,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.rollout.canaries import PATIENCE

_COUNT = number(0, 1 << 53)
_BOUND = matching(r"[0-9]{1,6}(?:\.[0-9]{1,9})?|\+Inf", "bound of a histogram")
_ROUTE = {
    "route": text(255),
    "answered": _COUNT,
    "failed": _COUNT,
    "first_bytes": list_of(record({"within": _BOUND, "count": _COUNT}), 64),
}
_TRAFFIC = {
    **dict.fromkeys(("started", "handshakes", "handshake_failures"), _COUNT),
    "routes": list_of(record(_ROUTE)),
}


class ActionModule(CheckedModule):
    """The answer decides whether a canary stays, or is put back."""

    patience = PATIENCE

    def fields(self, arguments: Mapping[str, Any]) -> Fields:
        """See the module's documentation."""
        return {"traffic": record(_TRAFFIC), "before": either(record({}), record(_TRAFFIC))}

    def ask(
        self,
        task_vars: dict[str, Any],
        module: str | None = None,
        arguments: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """See the module's documentation."""
        answer = super().ask(task_vars, module, arguments)
        # A failure has no time, whatever else the host says with it.
        return answer if answer.get("failed") else {**answer, "at": time.time()}
