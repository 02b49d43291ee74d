# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of the vendor's objects that the token exchange takes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.token import is_uuid

_ID = re.compile(r"[a-z]+_[A-Za-z0-9_-]{1,128}")
_WHERE = "Copy it from the Console, where Workload Identity shows it"
# The fields with the prefix of their IDs; those in _OPTIONAL may be left out.
_PREFIXES = {
    "federation_rule_id": "fdrl_",
    "service_account_id": "svac_",
    "workspace_id": "wrkspc_",
}
_OPTIONAL = ("service_account_id", "workspace_id")


@dataclass(frozen=True)
class Federation:
    """The checked IDs: the account, the rule that lets it in, and the place."""

    rule_id: str
    organization_id: str
    service_account_id: str = ""
    workspace_id: str = ""

    def fields(self) -> dict[str, str]:
        """The fields that a token exchange sends; empty optional IDs are left out."""
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

    :raises TunnelError: naming everything that is missing or malformed.
    """
    problems = federation_problems(options)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise TunnelError(
            ", ".join(problem.subject for problem in problems),
            "; ".join(f"{problem.subject} {problem.problem}" for problem in problems),
            "Copy them from the Console, where Workload Identity shows them",
        )
    return Federation(
        rule_id=_text(options, "federation_rule_id"),
        organization_id=_text(options, "organization_id"),
        service_account_id=_text(options, "service_account_id"),
        workspace_id=_text(options, "workspace_id"),
    )


def federation_problems(options: dict[str, Any]) -> list[TunnelError]:
    """Everything that is missing or malformed in the same four."""
    problems = [_problem(name, prefix, _text(options, name)) for name, prefix in _PREFIXES.items()]
    organization = _text(options, "organization_id")
    if not is_uuid(organization):
        remedy = "Copy the organization's ID (8-4-4-4-12 hexadecimal digits) from the Console"
        problem = "is not a UUID" if organization else "is missing"
        problems.insert(1, TunnelError("organization_id", problem, remedy))
    return [problem for problem in problems if problem]


def _text(options: dict[str, Any], name: str) -> str:
    return (options[name] or "").strip()


def _problem(name: str, prefix: str, text: str) -> TunnelError | None:
    if not text:
        missing = f"is missing; it looks like {prefix}..."
        return None if name in _OPTIONAL else TunnelError(name, missing, _WHERE)
    is_word = name == "workspace_id" and text == "default"
    if is_word or (text.startswith(prefix) and _ID.fullmatch(text)):
        return None
    also = ' or the word "default"' if name == "workspace_id" else ""
    return TunnelError(name, f"is not an ID that looks like {prefix}...{also}", _WHERE)
