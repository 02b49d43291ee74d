# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads files of a host that are no secret."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.copies.encryption import LARGEST
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers.checked_module import (
    CheckedModule,
    Fields,
    names_in,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers.rules import (
    CERTIFICATE,
    IDENTIFIER,
    domain,
    either,
    empty,
    flag,
    record,
    text,
)

_LARGEST = 64 * 1024
_KNOWN = {
    "ca.crt": either(CERTIFICATE, empty),
    "ca-previous.crt": either(CERTIFICATE, empty),
    "tunnel-domain": either(domain, empty),
    "tunnel-id": either(IDENTIFIER, empty),
    # 500 replicas and 500 marks, with the longest names: all that a state host can have it hold.
    "members.json": text(512 * 1024),
    # Any text: whether it is a copy, the one who takes it judges.
    "state.age": text(LARGEST),
}


class ActionModule(CheckedModule):
    """Checks the form of what a tunnel's own files say, because it goes to other hosts."""

    def fields(self, arguments: Mapping[str, Any]) -> Fields:
        """See the module's documentation."""
        names = names_in(arguments.get("names", []))
        contents = {name: _KNOWN.get(name, text(_LARGEST)) for name in names}
        return {"contents": record(contents, optional=names), "present": flag}
