# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The objects of the Tunnels API, with types."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.names import (
    check_domain,
    lower,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.values import shown

_FRACTION = re.compile(r"\.(\d+)")
# These values become part of a URL's path, of a file, or of a line that an operator reads.
_ID = re.compile(r"[a-z]{1,16}_[A-Za-z0-9_-]{1,128}")
_WORKSPACE = re.compile(r"[A-Za-z0-9_-]{1,144}")
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,12})?)?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})?"
)
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_LONGEST_NAME = 255  # characters; vendor rule
_ELSEWHERE = "Check api_url and api_surface: something other than the Tunnels API may answer there"


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
        """:raises TunnelError: if ID or domain is missing, or a field is not what it has to be."""
        return cls(
            id=_identifier(fields, "tunnel", "tnl_"),
            domain=_domain(fields),
            # Anybody who may make tunnels has chosen it; messages escape it.
            display_name=_text(fields, "display_name")[:_LONGEST_NAME],
            created_at=_time(fields, "created_at", "tunnel"),
            archived_at=_time(fields, "archived_at", "tunnel"),
            workspace_id=_matching(fields, "workspace_id", "tunnel", _WORKSPACE),
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
        """:raises TunnelError: if ID or fingerprint is missing, or a field is of another form."""
        return cls(
            id=_identifier(fields, "certificate", "tcrt_"),
            tunnel_id=_matching(fields, "tunnel_id", "certificate", _ID),
            fingerprint=_fingerprint(fields),
            created_at=_time(fields, "created_at", "certificate"),
            expires_at=_time(fields, "expires_at", "certificate"),
            archived_at=_time(fields, "archived_at", "certificate"),
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
        return cls(
            _matching(fields, "id", "tunnel token", _ID),
            _required(fields, "tunnel_token", "tunnel token").strip(),
        )


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
        raise TunnelError(f"the API's answer about a {what}", f"has no {name}", _ELSEWHERE)
    return value


def _wrong(name: str, what: str, value: str) -> TunnelError:
    return TunnelError(
        f"the API's answer about a {what}", f"its {name} is {shown(value)!r}", _ELSEWHERE
    )


def _matching(fields: Mapping[str, Any], name: str, what: str, form: re.Pattern[str]) -> str:
    """A text of this form, or none at all, which is empty here."""
    value = _text(fields, name)
    if value and not form.fullmatch(value):
        raise _wrong(name, what, value)
    return value


def _identifier(fields: Mapping[str, Any], what: str, prefix: str) -> str:
    value = _required(fields, "id", what)
    if not value.startswith(prefix) or not _ID.fullmatch(value):
        raise _wrong("id", what, value)
    return value


def _time(fields: Mapping[str, Any], name: str, what: str) -> str:
    """A time of RFC 3339. One that is none would else count as one: an archived object has one."""
    value = _matching(fields, name, what, _TIME)
    if value and parse_time(value) is None:
        raise _wrong(name, what, value)
    return value


def _fingerprint(fields: Mapping[str, Any]) -> str:
    value = lower(_required(fields, "fingerprint", "certificate"))
    if not _FINGERPRINT.fullmatch(value):
        raise _wrong("fingerprint", "certificate", value)
    return value


def _domain(fields: Mapping[str, Any]) -> str:
    value = _required(fields, "domain", "tunnel")
    try:
        return check_domain(value)
    except TunnelError:
        raise _wrong("domain", "tunnel", value) from None
