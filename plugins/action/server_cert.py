# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests, signs and installs a server certificate on a host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers.checked_module import (
    CheckedModule,
    Fields,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers.rules import (
    CERTIFICATE,
    FINGERPRINT,
    REQUEST,
    either,
    empty,
    flag,
    list_of,
    text,
)

_BY_STATE = {
    "requested": {
        "needed": flag,
        "reasons": list_of(text(), 64),
        "csr": either(REQUEST, empty),
    },
    "signed": {"certificate": either(CERTIFICATE, empty)},
}
_OF_A_CERTIFICATE = {
    "fingerprint": either(FINGERPRINT, empty),
    "names": list_of(text(255), 1024),
    "issuer": text(),
    "not_before": text(32),
    "not_after": text(32),
}


class ActionModule(CheckedModule):
    """Requests and certificates travel between hosts."""

    def fields(self, arguments: Mapping[str, Any]) -> Fields:
        """See the module's documentation."""
        return {**_BY_STATE.get(str(arguments.get("state")), {}), **_OF_A_CERTIFICATE}

    def optional(self, arguments: Mapping[str, Any]) -> tuple[str, ...]:
        """In check mode, and on a new replica, there is no certificate yet."""
        return tuple(_OF_A_CERTIFICATE)
