# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes and removes files on a host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host.file_entries import SYSUSERS
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers.checked_module import (
    CheckedModule,
    Fields,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers.rules import (
    subset,
)


class ActionModule(CheckedModule):
    """The answer's paths go into other tasks."""

    def fields(self, arguments: Mapping[str, Any]) -> Fields:
        """See the module's documentation."""
        entries, users = arguments.get("entries"), arguments.get("sysusers")
        given = [str(entry.get("path")) for entry in (entries if isinstance(entries, list) else [])]
        declared = [f"{SYSUSERS}/{name}.conf" for name in (users or ())]
        return {"changed_paths": subset([*given, *([SYSUSERS] if declared else []), *declared])}
