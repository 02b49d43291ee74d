# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gets the signing key of a package repository on the controller, and compares its fingerprint."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.places import Places
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.repository_key import (
    RepositoryKey,
)


class ActionModule(ActionBase):
    """Runs on the controller only."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset(("url", "fingerprint", "bundle"))

    def run(self, tmp: None = None, task_vars: Any = None) -> dict[str, Any]:
        """See the module's documentation."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(
            {
                "url": {"type": "str", "required": True},
                "fingerprint": {"type": "str", "required": True},
                "bundle": {"type": "path", "default": ""},
            }
        )
        try:
            key = RepositoryKey(arguments["url"], arguments["fingerprint"])
            with Places(arguments["bundle"]).taken(key) as path:
                armored = path.read_text(encoding="ascii")
        except TunnelError as error:
            result.update(failed=True, msg=str(error))
            return result
        result.update(changed=False, armored=armored)
        return result
