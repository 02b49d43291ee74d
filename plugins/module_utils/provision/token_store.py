# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The work of module tunnel_token: token, ID and domain in a state directory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import at_rest, secret_files
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.names import check_domain
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.token import (
    check_tunnel_id,
    is_uuid,
    parse_token,
)

_REPLACE = "Correct the value, or move the instance to another tunnel with replace: true"


@dataclass(frozen=True)
class TokenRequest:
    """The options of the module."""

    path: str
    replace: bool
    token: str | None = None
    tunnel_id: str | None = None
    domain: str | None = None
    encryption: str = ""  # one of at_rest.FORMS for the token; empty for that of the present one


@dataclass(frozen=True)
class _Identity:
    """The content of the three files; empty text: no such file."""

    token: str = ""
    tunnel_id: str = ""
    domain: str = ""

    def tunnel_uuid(self, subject: str) -> str:
        return parse_token(self.token, subject).tunnel_uuid if self.token else ""


def ensure_token(request: TokenRequest, check_mode: bool) -> dict[str, Any]:
    """Brings token, ID and domain to the wanted state and returns the module's result.

    :raises TunnelError: if a value is missing, wrong, or of another tunnel than the stored one.
    """
    directory = secret_files.absolute_path(request.path)
    paths = {
        "token": os.path.join(directory, "tunnel-token"),
        "tunnel_id": os.path.join(directory, "tunnel-id"),
        "domain": os.path.join(directory, "tunnel-domain"),
    }
    stored = _Identity(
        token=_read_token(paths["token"], is_given=bool(request.token)),
        tunnel_id=_read(paths["tunnel_id"]),
        domain=_read(paths["domain"]),
    )
    given = _Identity(
        token=(request.token or "").strip(),
        tunnel_id=check_tunnel_id(request.tunnel_id) if request.tunnel_id else "",
        domain=check_domain(request.domain) if request.domain else "",
    )
    wanted = _merge(stored, given, paths, request.replace)
    tunnel_uuid = wanted.tunnel_uuid("token" if given.token else paths["token"])

    changed_files = []
    changed = secret_files.ensure_private_directory(directory, check_mode)
    attributes = secret_files.private_attributes()
    for name, path in paths.items():
        form = request.encryption if name == "token" else at_rest.NONE
        values = getattr(stored, name), getattr(wanted, name)
        if _ensure_file(path, *values, attributes, check_mode, form):
            changed_files.append(name)
    return {
        "changed": changed or bool(changed_files),
        "already_stored": not (changed or changed_files),
        "tunnel_uuid": tunnel_uuid,
        "tunnel_id": wanted.tunnel_id,
        "domain": wanted.domain,
        "token_file": paths["token"],
        "diff": {
            "before": _public(stored, paths),
            "after": _public(wanted, paths, stored),
        },
    }


def _merge(stored: _Identity, given: _Identity, paths: dict[str, str], replace: bool) -> _Identity:
    """The values to store. A contradiction is refused here, before anything is written."""
    if not given.token and not stored.token:
        raise TunnelError(
            "token",
            f"is not given and {paths['token']} does not exist",
            "Supply the tunnel's token once, from the Console (mcp_tunnel_token or "
            "mcp_tunnel_token_file)",
        )
    given_uuid = given.tunnel_uuid("token")
    stored_uuid = _stored_uuid(stored, given, paths)
    moves = bool(given_uuid and stored_uuid and given_uuid != stored_uuid)
    if moves and not replace:
        raise TunnelError(
            "token",
            f"belongs to the tunnel {given_uuid}, but {paths['token']} to {stored_uuid}",
            _REPLACE,
        )
    for name in ("tunnel_id", "domain"):
        new, old = getattr(given, name), getattr(stored, name)
        if new and old and new != old and not replace:
            raise TunnelError(name, f"is {new}, but {paths[name]} says {old}", _REPLACE)
    # The old tunnel's ID and domain must not be taken for the new one's.
    base = _Identity() if moves else stored
    wanted = _Identity(
        token=given.token or stored.token,
        tunnel_id=given.tunnel_id
        or (check_tunnel_id(base.tunnel_id, paths["tunnel_id"]) if base.tunnel_id else ""),
        domain=given.domain or (check_domain(base.domain, paths["domain"]) if base.domain else ""),
    )
    if not wanted.domain:
        raise TunnelError(
            "domain",
            "is not given, and none is stored for this tunnel",
            "Set mcp_tunnel_domain to the tunnel's domain, as the Console shows it",
        )
    uuid = given_uuid or stored_uuid
    if is_uuid(wanted.tunnel_id) and wanted.tunnel_id != uuid:
        raise TunnelError(
            "tunnel_id",
            f"is {wanted.tunnel_id}, but the token belongs to the tunnel {uuid}",
            "Correct the one that is wrong",
        )
    return wanted


def _stored_uuid(stored: _Identity, given: _Identity, paths: dict[str, str]) -> str:
    try:
        return stored.tunnel_uuid(paths["token"])
    except TunnelError:
        if given.token:
            return ""  # an unusable value is simply replaced
        raise


def _read_token(path: str, is_given: bool) -> str:
    """The stored token; one that cannot be decrypted is replaced by a given one."""
    try:
        return _read(path)
    except TunnelError:
        if is_given:
            return ""
        raise


def _read(path: str) -> str:
    content = at_rest.read_secret(path)
    return content.decode("utf-8", "replace").strip() if content else ""


def _ensure_file(
    path: str,
    before: str,
    after: str,
    attributes: secret_files.Attributes,
    check_mode: bool,
    form: str,
) -> bool:
    """Brings one of the files to its state; returns whether that is a change."""
    status = secret_files.lstat(path)
    if not after:
        if status and not check_mode:
            secret_files.remove_file(path)
        return status is not None
    if status and before == after and attributes.match(status):
        return False
    if not check_mode:
        # No newline at the end: the file is the value, as in a Kubernetes secret.
        at_rest.write_secret(path, after.encode(), attributes, form)
    return True


def _public(
    identity: _Identity, paths: dict[str, str], before: _Identity | None = None
) -> dict[str, str]:
    """The part that a diff shows: of the token, its tunnel and whether it is another one."""
    try:
        tunnel_uuid = identity.tunnel_uuid(paths["token"]) or "none"
    except TunnelError:
        tunnel_uuid = "unreadable"
    is_other = bool(before and before.token and before.token != identity.token)
    kept = "stored" if identity.token else "none"
    return {
        "tunnel_uuid": tunnel_uuid,
        "tunnel_id": identity.tunnel_id or "none",
        "domain": identity.domain or "none",
        "token": "replaced" if is_other else kept,
    }
