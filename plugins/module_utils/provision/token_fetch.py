# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The work of module tunnel_token with programmatic access: reveal, rotate, repair."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.errors import LostAnswer
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.objects import RevealedToken
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.options import check_api_id
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.tunnels_api import TunnelsApi
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import secret_files
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.names import check_domain
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.state_files import (
    Intent,
    StateFile,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.token import parse_token
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.values import check_line

_FROM_API = "the token that the API revealed"


@dataclass(frozen=True)
class FetchRequest:
    """The options of the module that concern programmatic access."""

    path: str
    tunnel_id: str | None = None
    domain: str | None = None
    token_version: str | None = None
    rotate_reason: str | None = None
    encryption: str = ""  # one of at_rest.FORMS for the token; empty for that of the present one


class _TokenFiles:
    """The files of the state directory that record the token's life."""

    def __init__(self, path: str, encryption: str) -> None:
        self.directory = secret_files.absolute_path(path)
        self.token = StateFile(self.directory, "tunnel-token", encryption)
        self.version = StateFile(self.directory, "token-version")
        self.id = StateFile(self.directory, "tunnel-id")
        self.domain = StateFile(self.directory, "tunnel-domain")
        self.intent = Intent(self.directory, "token-rotate.json")


def ensure_fetched_token(
    request: FetchRequest, api: TunnelsApi, check_mode: bool
) -> dict[str, Any]:
    """Makes the stored token the tunnel's present one, and rotates it when the version changes.

    A rotation is recorded before it is requested, with a digest of the token that it replaces. A
    run that finds the record sees from it whether the rotation has happened.

    :raises TunnelError: if the tunnel is not known here, or the API refuses.
    """
    files = _TokenFiles(request.path, request.encryption)
    version = check_line((request.token_version or "").strip(), "token_version")
    check_line(request.rotate_reason or "", "rotate_reason")
    tunnel_id = _tunnel_id(request, files, check_mode)
    if not tunnel_id:
        return _prediction(files, version)
    domain = files.domain.read()
    if domain:
        check_domain(domain, files.domain.path)
    stored, stored_version = files.token.read(), files.version.read()
    revealed = _checked(api.reveal_token(tunnel_id))
    intent = files.intent.read()
    recorded = str(intent.get("version", ""))
    # An interrupted run has rotated if the token is another one than before.
    finished = bool(intent) and intent.get("before") != _digest(revealed.value)
    known_version = recorded if finished else stored_version
    # A token that is stored for the first time is new enough, whatever the version's name.
    must_rotate = bool(intent) and not finished
    must_rotate |= bool(version and stored and version != known_version)
    reason = request.rotate_reason or f"token_version {known_version or 'none'} -> {version}"

    changed = secret_files.ensure_private_directory(files.directory, check_mode)
    wanted_version = version or recorded or stored_version
    if not stored:
        # Before the token: the run after a killed one would rotate a token without a version.
        changed |= files.version.ensure(wanted_version, check_mode)
    changed |= files.token.ensure(revealed.value, check_mode)
    if finished:
        changed |= files.version.ensure(recorded, check_mode)
        files.intent.ensure(None, check_mode)
    new = revealed
    if must_rotate and not check_mode:
        fields = {"version": version or recorded, "before": _digest(revealed.value)}
        files.intent.ensure(fields, check_mode)
        new = _rotate(api, tunnel_id, reason, revealed)
        files.token.ensure(new.value, check_mode)
    changed |= files.version.ensure(wanted_version, check_mode)
    if must_rotate:
        files.intent.ensure(None, check_mode)
    rotated = must_rotate or finished
    return {
        "changed": changed or rotated,
        "rotated": rotated,
        "repaired": bool(stored) and stored != revealed.value and not finished,
        "rotate_reason": reason if must_rotate else "",
        "token_version": wanted_version,
        "tunnel_uuid": parse_token(new.value, _FROM_API).tunnel_uuid,
        "tunnel_id": tunnel_id,
        "domain": domain,
        "token_file": files.token.path,
        "diff": {
            "before": {
                "token": "stored" if stored else "none",
                "token_version": stored_version or "none",
            },
            "after": {
                "token": _shown(stored, revealed.value, rotated),
                "token_version": wanted_version or "none",
            },
        },
    }


def _rotate(api: TunnelsApi, tunnel_id: str, reason: str, old: RevealedToken) -> RevealedToken:
    try:
        return _checked(api.rotate_token(tunnel_id, reason))
    except LostAnswer:
        revealed = _checked(api.reveal_token(tunnel_id))
    if revealed.value != old.value:
        return revealed
    lost = None
    try:
        api.rotate_token(tunnel_id, reason)
    except LostAnswer as error:
        lost = error
    # Not the token in the answer: the first request may have arrived after the second.
    revealed = _checked(api.reveal_token(tunnel_id))
    if lost and revealed.value == old.value:
        raise lost
    return revealed


def _tunnel_id(request: FetchRequest, files: _TokenFiles, check_mode: bool) -> str:
    """The tunnel of this state directory; empty in check mode when it is not made yet."""
    stored = files.id.read()
    domain = files.domain.read()
    given = check_api_id(request.tunnel_id) if request.tunnel_id else ""
    if not stored:
        if check_mode:
            return given
        raise TunnelError(
            files.id.path, "does not exist", "Run the module tunnel on this directory first"
        )
    if given and given != check_api_id(stored, files.id.path):
        raise TunnelError(
            "tunnel_id",
            f"is {given}, but {files.id.path} says {stored}",
            "Correct it, or leave it out",
        )
    if request.domain and check_domain(request.domain) != domain:
        raise TunnelError(
            "domain",
            f"is {request.domain}, but {files.domain.path} says {domain or 'nothing'}",
            "Leave it out: the API knows the domain, and the module tunnel stores it",
        )
    return check_api_id(stored, files.id.path)


def _prediction(files: _TokenFiles, version: str) -> dict[str, Any]:
    """The result in check mode before there is a tunnel."""
    return {
        "changed": True,
        "rotated": False,
        "repaired": False,
        "rotate_reason": "",
        "token_version": version,
        "tunnel_uuid": "",
        "tunnel_id": "",
        "domain": "",
        "token_file": files.token.path,
        "diff": {"before": {"token": "none"}, "after": {"token": "stored"}},
    }


def _checked(revealed: RevealedToken) -> RevealedToken:
    parse_token(revealed.value, _FROM_API)
    return revealed


def _digest(value: str) -> str:
    # The secret inside has the strength of a key, so its digest gives nothing away.
    return hashlib.sha256(value.encode()).hexdigest()


def _shown(stored: str, revealed: str, rotated: bool) -> str:
    if rotated:
        return "rotated"
    return "stored" if stored in ("", revealed) else "replaced"
