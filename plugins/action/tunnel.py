# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attaches a state host to its tunnel."""

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


class ActionModule(CheckedModule):
    """The domain goes into the configuration of every replica."""

    def fields(self, arguments: Mapping[str, Any]) -> Fields:
        """See the module's documentation."""
        return {
            "tunnel_id": either(IDENTIFIER, empty),
            "domain": either(domain, empty),
            "display_name": text(),
            "created_at": text(64),
            "archived_at": text(64),
            "created": flag,
        }
