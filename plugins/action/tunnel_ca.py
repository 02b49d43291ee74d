# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps the CA of a tunnel on the state host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers.checked_module import (
    CheckedModule,
    Fields,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers.rules import (
    CERTIFICATE,
    CERTIFICATE_OBJECT,
    FINGERPRINT,
    IDENTIFIER,
    either,
    empty,
    flag,
    list_of,
    text,
)

_ALWAYS = {
    "certificate": either(CERTIFICATE, empty),
    "fingerprint": either(FINGERPRINT, empty),
    "subject": text(),
    "not_before": text(32),
    "not_after": text(32),
    "private_key_stored": flag,
    "registration": text(),
}
_WIF = {
    "tunnel_id": either(IDENTIFIER, empty),
    "certificate_id": either(IDENTIFIER, empty),
    "rotating": flag,
    "active": list_of(CERTIFICATE_OBJECT, 64),
}


class ActionModule(CheckedModule):
    """The certificate goes to every replica, which trusts it."""

    def fields(self, arguments: Mapping[str, Any]) -> Fields:
        """See the module's documentation."""
        manual = arguments.get("provisioning", "manual") == "manual"
        return {**_ALWAYS, **({} if manual else _WIF)}
