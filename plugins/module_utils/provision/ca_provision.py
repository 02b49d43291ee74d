# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The work of module tunnel_ca with programmatic access: the stored CA is registered by itself."""

from __future__ import annotations

from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.options import check_api_id
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.tunnels_api import TunnelsApi
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import secret_files
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.state_files import StateFile
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki import crypto
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki.ca_store import (
    CaRequest,
    ensure_ca,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision.ca_registrations import (
    Registrations,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision.ca_rotation import (
    Rotation,
)


def ensure_registered_ca(
    request: CaRequest, phase: str, api: TunnelsApi, check_mode: bool, exclusive: bool = False
) -> dict[str, Any]:
    """Keeps the CA of the state directory registered, or takes one step of its rotation.

    :param phase: ``current``, ``added``, ``retired`` or ``withdrawn``.
    :param exclusive: whether no CA may be made beside one that this directory does not have.
    :raises TunnelError: if an option or what is stored is wrong, or no slot is free.
    """
    crypto.require_cryptography()
    if phase != "current" and request.regenerate != "never":
        raise TunnelError(
            "phase", f"{phase} does not go with regenerate=always", "Leave regenerate out"
        )
    directory = secret_files.absolute_path(request.path)
    tunnel_id = _tunnel_id(directory, check_mode)
    if not tunnel_id:
        result = ensure_ca(request, check_mode)
        return {**result, "changed": True, **_registration("", "", False), "active": []}
    registrations = Registrations(api, tunnel_id)
    rotation = Rotation(directory, registrations, exclusive, request.encryption)
    if phase == "withdrawn":
        return _withdrawn(request, tunnel_id, rotation, registrations, check_mode)
    if phase == "added":
        result = rotation.add(request, check_mode)
    elif phase == "retired":
        result = rotation.retire(request, check_mode)
    else:
        result = rotation.keep(request, check_mode)
    registered = registrations.find(result["fingerprint"])
    return {
        **result,
        **_registration(tunnel_id, registered.id if registered else "", rotation.is_under_way()),
        "active": [certificate.public() for certificate in registrations.active],
    }


def _withdrawn(
    request: CaRequest,
    tunnel_id: str,
    rotation: Rotation,
    registrations: Registrations,
    check_mode: bool,
) -> dict[str, Any]:
    gone = rotation.withdraw(check_mode)
    text = f"Archived on the tunnel {tunnel_id}: {', '.join(gone)}."
    return {
        **ensure_ca(request, check_mode=True),
        "tunnel_id": tunnel_id,
        "certificate_id": "",
        "rotating": rotation.is_under_way(),
        "registration": text if gone else f"No CA of this host is on the tunnel {tunnel_id}.",
        "active": [certificate.public() for certificate in registrations.active],
        "changed": bool(gone),
        "diff": {"before": {"registered": gone}, "after": {"registered": []}},
    }


def _registration(tunnel_id: str, certificate_id: str, rotating: bool) -> dict[str, Any]:
    text = f"Registered on the tunnel {tunnel_id} as {certificate_id}."
    if not certificate_id:
        text = f"The CA will be registered on the tunnel {tunnel_id or 'that will be made'}."
    return {
        "tunnel_id": tunnel_id,
        "certificate_id": certificate_id,
        "rotating": rotating,
        "registration": text,
    }


def _tunnel_id(directory: str, check_mode: bool) -> str:
    """The tunnel of this state directory; empty in check mode when it is not made yet."""
    file = StateFile(directory, "tunnel-id")
    stored = file.read()
    if not stored and not check_mode:
        raise TunnelError(
            file.path, "does not exist", "Run the module tunnel on this directory first"
        )
    return check_api_id(stored, file.path) if stored else ""
