# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Identity tokens of a SPIFFE Workload API: by the library, or by SPIRE's own command."""

from __future__ import annotations

import json
import os
import stat
import sys

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.identity.identity import Identity
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.identity.local import run_command

_VARIABLE = "SPIFFE_ENDPOINT_SOCKET"
# Where packages of SPIRE put it. Its own default is in /tmp, where any local user may make it.
_SOCKET = "/run/spire/agent/public/api.sock"
_TIMEOUT = 30.0  # seconds
_REMEDY = "Check that the agent runs and has an entry for the user of this task"


def from_spiffe(identity: Identity) -> str:
    """Asks the Workload API for a JWT-SVID of this process."""
    socket = identity.text("spiffe_socket") or os.environ.get(_VARIABLE, _SOCKET)
    path = socket[len("unix:") :] if socket.startswith("unix:") else socket
    path = "/" + path.lstrip("/") if socket != path else path
    if not os.path.isabs(path) or not os.path.exists(path):
        raise TunnelError(
            "identity_spiffe_socket",
            f"there is no Workload API socket {path} on this host",
            f"Give its path, or set {_VARIABLE}; SPIRE's own default, in /tmp, has to be given",
        )
    squatter = _made_by_somebody(path)
    if squatter:
        raise TunnelError(
            "identity_spiffe_socket",
            f"{squatter} lies where every local user can make it, and is not root's, so another "
            "program than the agent may answer there",
            f"Let the agent listen in a directory of its own (socket_path), like {_SOCKET}",
        )
    agent = identity.text("spiffe_agent")
    if agent:
        return _by_command(agent, path, identity.audience)
    return _by_library(path, identity.audience)


def _made_by_somebody(path: str) -> str:
    """The part of the path that any local user may have made; empty if there is none.

    Such a part lies in a directory that everybody can write, and is neither root's nor ours.
    """
    for start in (os.path.abspath(path), os.path.realpath(path)):
        here = start
        while here != "/":
            parent = os.path.dirname(here)
            is_open = os.stat(parent).st_mode & stat.S_IWOTH
            if is_open and os.lstat(here).st_uid not in (0, os.geteuid()):
                return here
            here = parent
    return ""


def _by_command(agent: str, path: str, audience: str) -> str:
    command = [agent, "api", "fetch", "jwt", "-audience", audience]
    output = run_command(
        [*command, "-socketPath", path, "-output", "json"], "identity_spiffe_agent"
    )
    try:
        return str(json.loads(output)[0]["svids"][0]["svid"])
    except (ValueError, LookupError, TypeError):
        raise TunnelError("identity_spiffe_agent", "printed no JWT-SVID", _REMEDY) from None


def _by_library(path: str, audience: str) -> str:
    try:
        from spiffe import WorkloadApiClient
        from spiffe.errors import PySpiffeError
    except ImportError:
        raise TunnelError(
            "Python library spiffe",
            f"is not installed for the interpreter {sys.executable}",
            "Install the PyPI package spiffe for it, or give the path of SPIRE's command with "
            "identity_spiffe_agent",
        ) from None
    try:
        with WorkloadApiClient(f"unix://{path}") as client:
            return str(client.fetch_jwt_svid({audience}, timeout=_TIMEOUT).token)
    except PySpiffeError as error:
        # Its text comes from the agent and quotes no token; text that looks like one is blanked.
        raise TunnelError(
            f"SPIFFE Workload API {path}", f"gave no token ({error})", _REMEDY
        ) from None
