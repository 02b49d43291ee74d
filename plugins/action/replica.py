# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Has the services of a replica run with what is on disk, and puts them back."""

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

_LINES = list_of(text())
_BY_STATE: dict[str, Fields] = {
    "applied": {"actions": _LINES, "proven": flag, "waits": flag},
    "good": {"removed_releases": _LINES},
    "restored": {"actions": _LINES, "restored": flag},
    "renewed": {"proven": flag},
    "absent": {"actions": _LINES, "alone": flag},
}


class ActionModule(CheckedModule):
    """The answer decides whether a replica is proven anew, and what a teardown removes."""

    def fields(self, arguments: Mapping[str, Any]) -> Fields:
        """See the module's documentation."""
        return _BY_STATE.get(arguments.get("state", "applied"), {})
