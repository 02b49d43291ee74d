# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The work of module tunnel: the tunnel that a state directory belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.errors import ApiError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.objects import Tunnel
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.options import check_api_id
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.tunnels_api import TunnelsApi
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import secret_files
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.names import check_domain
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.state_files import StateFile
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.values import check_line
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision.tunnel_create import (
    TunnelMaker,
)

_NOTHING = {"id": "", "domain": "", "display_name": "", "created_at": "", "archived_at": ""}


@dataclass(frozen=True)
class TunnelRequest:
    """The options of the module."""

    path: str
    create: bool
    replace: bool
    tunnel_id: str | None = None
    display_name: str | None = None
    domain: str | None = None


class _TunnelFiles:
    """The state directory's files about the tunnel."""

    def __init__(self, request: TunnelRequest) -> None:
        self.directory = secret_files.absolute_path(request.path)
        self.id = StateFile(self.directory, "tunnel-id")
        self.domain = StateFile(self.directory, "tunnel-domain")
        self.token = StateFile(self.directory, "tunnel-token")
        # These belong to the tunnel that the instance leaves when it moves to another one.
        self.others = [
            self.token,
            *(StateFile(self.directory, name) for name in ("token-version", "token-rotate.json")),
        ]

    def known_domain(self) -> str:
        """The domain that is stored; empty if none is. :raises TunnelError: if it is none."""
        stored = self.domain.read()
        return check_domain(stored, self.domain.path) if stored else ""

    def public(self) -> dict[str, str]:
        return {
            "tunnel_id": self.id.read() or "none",
            "domain": self.domain.read() or "none",
        }


def ensure_tunnel(request: TunnelRequest, api: TunnelsApi, check_mode: bool) -> dict[str, Any]:
    """Attaches the state directory to a tunnel, which is created when it has to be.

    :raises TunnelError: if there is no such tunnel, it is archived, or what is given disagrees.
    """
    files = _TunnelFiles(request)
    wanted_id = check_api_id(request.tunnel_id) if request.tunnel_id else ""
    name = _check_name(request.display_name)
    domain = check_domain(request.domain) if request.domain else ""
    stored_id = files.id.read()
    if wanted_id and stored_id and wanted_id != stored_id and not request.replace:
        raise TunnelError(
            "tunnel_id",
            f"is {wanted_id}, but {files.id.path} says {stored_id}",
            "Correct the value, or move the instance to another tunnel with replace: true",
        )
    before = files.public()
    if wanted_id or stored_id:
        tunnel, made = (
            _existing(api, wanted_id or check_api_id(stored_id, files.id.path), name),
            False,
        )
    else:
        maker = TunnelMaker(api, files.directory)
        tunnels = api.tunnels()
        # A directory of mode manual has the domain, and perhaps not the ID.
        known = domain or files.known_domain()
        found = _of_domain(tunnels, known) if known else _found(maker, tunnels, name)
        if found is not None:
            _compare_name(found, name)
        made = found is None
        if found is None:
            _refuse_creation(request, files, name)
            if check_mode:
                after = {"tunnel_id": "to be created", "domain": "to be assigned"}
                return _result(None, True, True, before, after)
            secret_files.ensure_private_directory(files.directory, check_mode)
            found = maker.make(name, tunnels)
        tunnel = found
    if domain and tunnel.domain != domain:
        raise TunnelError(
            "domain",
            f"is {domain}, but that of the tunnel {tunnel.id} is {tunnel.domain}",
            "Correct the one that is wrong, or leave the domain out",
        )
    changed = _store(files, tunnel, stored_id, check_mode)
    if not check_mode:
        TunnelMaker(api, files.directory).forget()
    after = {"tunnel_id": tunnel.id, "domain": tunnel.domain}
    return _result(tunnel, changed, made, before, after)


def archive_tunnel(request: TunnelRequest, api: TunnelsApi, check_mode: bool) -> dict[str, Any]:
    """Archives the tunnel that is named or stored. The state directory stays as it is.

    :raises TunnelError: if none is known, or what is given disagrees.
    """
    files = _TunnelFiles(request)
    stored_id = files.id.read()
    wanted_id = check_api_id(request.tunnel_id) if request.tunnel_id else ""
    if wanted_id and stored_id and wanted_id != stored_id:
        raise TunnelError(
            "tunnel_id",
            f"is {wanted_id}, but {files.id.path} says {stored_id}",
            "Archiving is permanent: give both for the same tunnel",
        )
    if not wanted_id and not stored_id:
        raise TunnelError(
            "tunnel_id",
            f"is not given and {files.id.path} does not exist",
            "Give the ID of the tunnel to archive; a name is not enough for what is irreversible",
        )
    tunnel = _get(api, wanted_id or check_api_id(stored_id, files.id.path))
    _compare_name(tunnel, _check_name(request.display_name))
    before = {"tunnel_id": tunnel.id, "archived_at": tunnel.archived_at or "never"}
    if tunnel.archived_at:
        return _result(tunnel, False, False, before, before)
    if not check_mode:
        tunnel = api.archive_tunnel(tunnel.id)
    after = {"tunnel_id": tunnel.id, "archived_at": tunnel.archived_at or "now"}
    return _result(tunnel, True, False, before, after)


def _check_name(text: str | None) -> str:
    return check_line((text or "").strip(), "display_name")


def _get(api: TunnelsApi, tunnel_id: str) -> Tunnel:
    try:
        return api.tunnel(tunnel_id)
    except ApiError as error:
        if error.status != 404:
            raise
        raise TunnelError(
            f"tunnel {tunnel_id}",
            f"is unknown to the API in the workspace of these credentials (request-id "
            f"{error.request_id})",
            "Check the ID and workspace_id; to let a new tunnel be created, remove the ID "
            "(mcp_tunnel_id, and the file tunnel-id of the state directory)",
        ) from None


def _existing(api: TunnelsApi, tunnel_id: str, name: str) -> Tunnel:
    tunnel = _get(api, tunnel_id)
    if tunnel.archived_at:
        raise TunnelError(
            f"tunnel {tunnel_id}",
            f"was archived at {tunnel.archived_at}, which is permanent",
            "Give the ID of another tunnel, or move the state directory away and let one be "
            "created",
        )
    _compare_name(tunnel, name)
    return tunnel


def _compare_name(tunnel: Tunnel, name: str) -> None:
    if name and tunnel.display_name != name:
        raise TunnelError(
            "display_name",
            f"is {name!r}, but the tunnel {tunnel.id} is named {tunnel.display_name!r}",
            "Correct the one that is wrong, or leave the name out",
        )


def _found(maker: TunnelMaker, tunnels: list[Tunnel], name: str) -> Tunnel | None:
    """The tunnel that an interrupted run has made, or the only one of that name."""
    if maker.intended_name() and name in ("", maker.intended_name()):
        tunnel = maker.made(tunnels)
        if tunnel:
            return tunnel
    same = [tunnel for tunnel in tunnels if name and tunnel.display_name == name]
    if len(same) > 1:
        raise TunnelError(
            "display_name",
            f"{len(same)} active tunnels are named {name!r}: "
            f"{', '.join(tunnel.id for tunnel in same)}",
            "Give the ID of the one that is meant as tunnel_id",
        )
    return same[0] if same else None


def _of_domain(tunnels: list[Tunnel], domain: str) -> Tunnel:
    """The tunnel with this domain; none is ever made for it, as nobody can choose a domain."""
    for tunnel in tunnels:
        if tunnel.domain == domain:
            return tunnel
    raise TunnelError(
        "domain",
        f"no active tunnel in the workspace of these credentials has the domain {domain}",
        "Check workspace_id, or give the tunnel's ID; for a new tunnel, leave the domain out and "
        "use another instance",
    )


def _refuse_creation(request: TunnelRequest, files: _TunnelFiles, name: str) -> None:
    if files.token.read():
        raise TunnelError(
            files.token.path,
            f"is the token of a tunnel, but {files.id.path} does not say which",
            "Give the tunnel's ID as tunnel_id, so that it does not get a second one",
        )
    if not request.create:
        raise TunnelError(
            "display_name" if name else "tunnel_id",
            f"no active tunnel is named {name!r}" if name else "is not given, and none is stored",
            "Give the ID of a tunnel, or allow a new one with create: true",
        )


def _store(files: _TunnelFiles, tunnel: Tunnel, stored_id: str, check_mode: bool) -> bool:
    changed = secret_files.ensure_private_directory(files.directory, check_mode)
    if stored_id and stored_id != tunnel.id:
        for file in files.others:
            changed |= file.ensure("", check_mode)
    changed |= files.id.ensure(tunnel.id, check_mode)
    return files.domain.ensure(tunnel.domain, check_mode) or changed


def _result(
    tunnel: Tunnel | None,
    changed: bool,
    created: bool,
    before: dict[str, str],
    after: dict[str, str],
) -> dict[str, Any]:
    facts = tunnel.public() if tunnel else dict(_NOTHING)
    return {
        "changed": changed,
        "created": created,
        "tunnel_id": facts["id"],
        "domain": facts["domain"],
        "display_name": facts["display_name"],
        "created_at": facts["created_at"],
        "archived_at": facts["archived_at"],
        "diff": {"before": before, "after": after},
    }
