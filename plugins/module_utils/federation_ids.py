# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of the vendor's objects that the token exchange takes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.token import is_uuid

_ID = re.compile(r"[a-z]+_[A-Za-z0-9_-]{1,128}")
_WHERE = "Copy it from the Console, where Workload Identity shows it"


@dataclass(frozen=True)
class Federation:
    """Who is let in, by which rule, and where; checked."""

    rule_id: str
    organization_id: str
    service_account_id: str = ""
    workspace_id: str = ""

    def fields(self) -> dict[str, str]:
        """What a token exchange sends of it."""
        optional = {
            "service_account_id": self.service_account_id,
            "workspace_id": self.workspace_id,
        }
        return {
            "federation_rule_id": self.rule_id,
            "organization_id": self.organization_id,
            **{name: value for name, value in optional.items() if value},
        }


def check_federation(options: dict[str, Any]) -> Federation:
    """Checks ``federation_rule_id``, ``organization_id``, ``service_account_id``, ``workspace_id``.

    :raises TunnelError: naming the first one that is missing or malformed.
    """
    organization = (options["organization_id"] or "").strip()
    if not is_uuid(organization):
        raise TunnelError(
            "organization_id",
            "is not a UUID" if organization else "is missing",
            "Copy the organization's ID (8-4-4-4-12 hexadecimal digits) from the Console",
        )
    workspace = (options["workspace_id"] or "").strip()
    return Federation(
        rule_id=_check("federation_rule_id", "fdrl_", options["federation_rule_id"]),
        organization_id=organization,
        service_account_id=_check("service_account_id", "svac_", options["service_account_id"], ""),
        workspace_id=workspace
        if workspace == "default"
        else _check("workspace_id", "wrkspc_", workspace, ""),
    )


def _check(name: str, prefix: str, value: str | None, default: str | None = None) -> str:
    text = (value or "").strip()
    if not text:
        if default is not None:
            return default
        raise TunnelError(name, f"is missing; it looks like {prefix}...", _WHERE)
    if not text.startswith(prefix) or not _ID.fullmatch(text):
        also = ' or the word "default"' if name == "workspace_id" else ""
        raise TunnelError(name, f"is not an ID that looks like {prefix}...{also}", _WHERE)
    return text
