# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes a tunnel exactly once, even if the answer is lost or the run is killed."""

from __future__ import annotations

import secrets
import time

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.errors import (
    ApiError,
    LostAnswer,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.objects import (
    Tunnel,
    parse_time,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.tunnels_api import TunnelsApi
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.state_files import Intent

# Vendor rule: active tunnels of an organization.
_MOST = 10
# A server's Date header, in whole seconds, may be off by this much (seconds).
_LEEWAY = 5.0
# How long a tunnel whose answer was lost may need to appear in the list (seconds between looks).
_LOOKS = (0.0, 1.0, 3.0)


class TunnelMaker:
    """Creates the tunnel of a state directory.

    The request is not idempotent, so the name, the tunnels that existed before, and the server's
    time (if it gives it) are recorded first: a newer tunnel of that name that was not there before
    is ours. A run sends the request once: else one that is slow to take effect would lead to a
    second tunnel.
    """

    def __init__(self, api: TunnelsApi, directory: str) -> None:
        self._api = api
        self._intent = Intent(directory, "tunnel-create.json")

    def intended_name(self) -> str:
        """The display name that an interrupted run was about to create; empty if none was."""
        return str(self._intent.read().get("display_name", ""))

    def made(self, tunnels: list[Tunnel]) -> Tunnel | None:
        """The tunnel that an interrupted run has made, among all active ones.

        :raises TunnelError: if several could be it.
        """
        intent = self._intent.read()
        if not intent:
            return None
        found = [tunnel for tunnel in tunnels if _is_made(tunnel, intent)]
        if len(found) > 1:
            raise TunnelError(
                f"tunnels named {intent['display_name']!r}",
                f"{', '.join(tunnel.id for tunnel in found)} were all made since this host asked "
                "for one",
                "Archive those that nobody uses, and give the other one's ID as tunnel_id",
            )
        return found[0] if found else None

    def make(self, display_name: str, tunnels: list[Tunnel]) -> Tunnel:
        """Creates the tunnel, or finds the one that was created.

        :param display_name: empty for a name of its own.
        :param tunnels: all active ones.
        :raises TunnelError: if the API refuses, or nobody knows what became of the request.
        """
        intent = self._intent.read()
        name = display_name or str(intent.get("display_name", "")) or _unique_name()
        is_new = intent.get("display_name") != name
        if is_new:
            fields = {
                "display_name": name,
                "known": [tunnel.id for tunnel in tunnels],
                # Our own clock may be wrong by any amount, so it cannot replace the server's.
                "recorded_at": self._api.now(),
            }
            self._intent.ensure(fields, check_mode=False)
        try:
            made = self._api.create_tunnel(name)
        except LostAnswer:
            for pause in _LOOKS:
                time.sleep(pause)
                tunnel = self.made(self._api.tunnels())
                if tunnel:
                    return tunnel
            raise
        except ApiError as error:
            if is_new:
                self.forget()  # refused: there is nothing to look for
            if error.status in (400, 403, 409, 429) and len(tunnels) >= _MOST:
                raise TunnelError(
                    error.subject,
                    f"{error.problem}; {len(tunnels)} tunnels are active, and an organization "
                    f"may have {_MOST}",
                    "Archive a tunnel that nobody uses, or attach to one with tunnel_id",
                ) from None
            raise
        return self._alone(made, bool(display_name), tunnels)

    def _alone(self, made: Tunnel, is_named: bool, before: list[Tunnel]) -> Tunnel:
        """The new tunnel, unless another run has made one of its name meanwhile, but earlier.

        :param is_named: whether the name was given, so that another run may have the same.
        :param before: the active tunnels before this one was made.
        :raises TunnelError: in that case; the new tunnel is archived.
        """
        if not is_named:
            return made
        known = {tunnel.id for tunnel in before}
        rivals = [
            tunnel
            for tunnel in self._api.tunnels()
            if tunnel.display_name == made.display_name and tunnel.id not in known
        ]
        first = min([*rivals, made], key=lambda tunnel: (tunnel.created_at, tunnel.id))
        if first.id == made.id:
            return made
        self._api.archive_tunnel(made.id)
        self.forget()
        raise TunnelError(
            f"tunnel {first.id}",
            f"was made with the name {made.display_name!r} at the same time by another run, so "
            f"that of this run ({made.id}) was archived",
            "Run with an inventory that has every replica, once the other run has ended",
        )

    def forget(self) -> None:
        """To be called once the tunnel's ID is stored."""
        self._intent.ensure(None, check_mode=False)


def _is_made(tunnel: Tunnel, intent: dict[str, object]) -> bool:
    known, recorded_at = intent.get("known"), intent.get("recorded_at")
    created_at = parse_time(tunnel.created_at)
    is_new = (
        created_at is None
        or not isinstance(recorded_at, (int, float))
        or created_at.timestamp() >= recorded_at - _LEEWAY
    )
    return (
        tunnel.display_name == intent.get("display_name")
        and isinstance(known, list)
        and tunnel.id not in known
        and is_new
    )


def _unique_name() -> str:
    return f"mcp-tunnel-{secrets.token_hex(6)}"
