# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The forms of a tunnel token and of a tunnel's ID."""

from __future__ import annotations

import base64
import binascii
import json
import re
import uuid
from dataclasses import dataclass

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError

_TUNNEL_ID = re.compile(r"tnl_[A-Za-z0-9_-]{1,128}")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_LONGEST = 8192  # characters; tokens of today have some 200
_COPY = "Copy the tunnel token from the Console again, whole and without the command around it"


@dataclass(frozen=True)
class TunnelToken:
    """The public part of a token: nothing in here is secret or derived from the secret."""

    tunnel_uuid: str


def parse_token(text: str, subject: str = "token") -> TunnelToken:
    """Reads a tunnel token: base64 JSON ``{"a": account, "t": tunnel UUID, "s": base64 secret}``.

    The messages never quote the token.

    :raises TunnelError: if it is not such a token.
    """
    token = text.strip()
    if not token:
        raise TunnelError(subject, "is empty", _COPY)
    if len(token) > _LONGEST:
        raise TunnelError(subject, f"has {len(token)} characters, too many for a token", _COPY)
    if re.search(r"\s", token):
        raise TunnelError(subject, "contains white space inside", _COPY)
    try:
        fields = json.loads(base64.b64decode(token, validate=True).decode("utf-8"))
    except (binascii.Error, ValueError, RecursionError):
        # "from None": the cause quotes its input.
        raise TunnelError(subject, "is not base64-encoded JSON", _COPY) from None
    if not isinstance(fields, dict):
        raise TunnelError(subject, "is not a JSON object inside", _COPY)
    for key, what in (("a", "account"), ("t", "tunnel UUID"), ("s", "secret")):
        if not isinstance(fields.get(key), str) or not fields[key]:
            raise TunnelError(subject, f"has no {what} (field {key!r})", _COPY)
    if not _UUID.fullmatch(fields["t"]):
        raise TunnelError(subject, "its field 't' is not a tunnel UUID", _COPY)
    try:
        secret = base64.b64decode(fields["s"], validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if not secret:
        raise TunnelError(subject, "its secret (field 's') is not base64", _COPY)
    return TunnelToken(tunnel_uuid=str(uuid.UUID(fields["t"])))


def check_tunnel_id(text: str, subject: str = "tunnel_id") -> str:
    """Returns the ID of a tunnel, a UUID in lower case.

    :raises TunnelError: if it is neither ``tnl_...`` nor a UUID.
    """
    tunnel_id = text.strip()
    if _UUID.fullmatch(tunnel_id):
        return tunnel_id.lower()
    if not _TUNNEL_ID.fullmatch(tunnel_id):
        raise TunnelError(
            subject,
            "is neither a tunnel ID (tnl_...) nor the UUID of a tunnel",
            "Copy the tunnel's ID from the Console, or leave it out",
        )
    return tunnel_id


def is_uuid(tunnel_id: str) -> bool:
    """Whether a checked tunnel ID is the UUID that tokens carry."""
    return bool(_UUID.fullmatch(tunnel_id))
