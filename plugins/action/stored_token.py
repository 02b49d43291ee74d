# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the tunnel token on the state host, for the replicas."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.token import parse_token
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers.checked_module import (
    CheckedModule,
    Fields,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers.rules import text

_LARGEST = 64 * 1024


class ActionModule(CheckedModule):
    """Accepts nothing but a token: the state host's answer goes into a file of every replica."""

    _VALID_ARGS = frozenset(("path",))

    def fields(self, arguments: Mapping[str, Any]) -> Fields:
        """The content in Base64, which this plugin takes out of the answer."""
        return {"content": text(_LARGEST)}

    def ask(
        self,
        task_vars: dict[str, Any],
        module: str | None = None,
        arguments: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """See the module's documentation."""
        _validation, options = self.validate_argument_spec(
            {"path": {"type": "path", "required": True}}
        )
        answer = super().ask(task_vars, module, options)
        if answer.get("failed"):
            return answer
        try:
            token = base64.b64decode(answer.pop("content"), validate=True).decode("ascii").strip()
        except (binascii.Error, ValueError):
            raise TunnelError(
                options["path"], "is not a tunnel token", "Give the tunnel token anew"
            ) from None
        parse_token(token, options["path"])
        return {**answer, "changed": False, "token": token}
