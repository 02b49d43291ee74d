# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps the tunnel token on the state host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers.checked_module import (
    CheckedModule,
    Fields,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers.rules import (
    IDENTIFIER,
    domain,
    either,
    empty,
    flag,
    text,
)

_ALWAYS = {
    "tunnel_uuid": either(IDENTIFIER, empty),
    "tunnel_id": either(IDENTIFIER, empty),
    "domain": either(domain, empty),
    "token_file": text(),
}
_MANUAL = {"already_stored": flag}
_WIF = {
    "token_version": text(),
    "rotated": flag,
    "rotate_reason": text(),
    "repaired": flag,
}


class ActionModule(CheckedModule):
    """The token itself is no part of the answer."""

    def fields(self, arguments: Mapping[str, Any]) -> Fields:
        """See the module's documentation."""
        manual = arguments.get("provisioning", "manual") == "manual"
        return {**_ALWAYS, **(_MANUAL if manual else _WIF)}
