# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the Tunnels API tells of its objects, with types."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.errors import TunnelError

_FRACTION = re.compile(r"\.(\d+)")


@dataclass(frozen=True)
class Tunnel:
    """A tunnel. Times are RFC 3339 texts as the API writes them; its null is empty text here."""

    id: str
    domain: str
    display_name: str
    created_at: str
    archived_at: str
    workspace_id: str

    @classmethod
    def from_api(cls, fields: Mapping[str, Any]) -> Tunnel:
        """:raises TunnelError: if ID or domain is missing."""
        return cls(
            id=_required(fields, "id", "tunnel"),
            domain=_required(fields, "domain", "tunnel").lower(),
            display_name=_text(fields, "display_name"),
            created_at=_text(fields, "created_at"),
            archived_at=_text(fields, "archived_at"),
            workspace_id=_text(fields, "workspace_id"),
        )

    def public(self) -> dict[str, str]:
        """All of it: nothing is secret."""
        return dict(vars(self))


@dataclass(frozen=True)
class Certificate:
    """A registered CA certificate. ``fingerprint``: lower-case hexadecimal SHA-256 of its DER."""

    id: str
    tunnel_id: str
    fingerprint: str
    created_at: str
    expires_at: str
    archived_at: str

    @classmethod
    def from_api(cls, fields: Mapping[str, Any]) -> Certificate:
        """:raises TunnelError: if ID or fingerprint is missing."""
        return cls(
            id=_required(fields, "id", "certificate"),
            tunnel_id=_text(fields, "tunnel_id"),
            fingerprint=_required(fields, "fingerprint", "certificate").lower(),
            created_at=_text(fields, "created_at"),
            expires_at=_text(fields, "expires_at"),
            archived_at=_text(fields, "archived_at"),
        )

    def public(self) -> dict[str, str]:
        """All of it: nothing is secret."""
        return dict(vars(self))


@dataclass(frozen=True)
class RevealedToken:
    """A tunnel token. ``id`` changes with a rotation; ``value`` is the secret."""

    id: str
    value: str = field(repr=False)

    @classmethod
    def from_api(cls, fields: Mapping[str, Any]) -> RevealedToken:
        """:raises TunnelError: if the token is missing."""
        return cls(_text(fields, "id"), _required(fields, "tunnel_token", "tunnel token"))


def parse_time(text: str) -> datetime | None:
    """Reads an RFC 3339 time; ``None`` if it is none."""
    # Python before 3.11 knows neither Z nor other than 3 or 6 digits.
    plain = _FRACTION.sub(lambda match: "." + match.group(1)[:6].ljust(6, "0"), text)
    try:
        moment = datetime.fromisoformat(plain.replace("Z", "+00:00"))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""


def _required(fields: Mapping[str, Any], name: str, what: str) -> str:
    value = _text(fields, name)
    if not value:
        raise TunnelError(
            f"the API's answer about a {what}",
            f"has no {name}",
            "Check api_url and api_surface: something else than the Tunnels API may answer there",
        )
    return value
