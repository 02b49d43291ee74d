# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Concludes from what site.yml has found in which parts a replica differs from its inventory."""

from __future__ import annotations

import datetime
import time
from collections.abc import Mapping
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers.checked_module import (
    CheckedModule,
    Fields,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.answers.rules import flag, subset

# Registered by the roles for a replica, and for the leader of its tunnel.
_OF_REPLICA = {
    "releases": ("__proxy_release", "__cloudflared_release"),
    "files": (
        *("__proxy_file_set", "__proxy_renewal_key"),
        *("__cloudflared_file_set", "__cloudflared_repository"),
    ),
    "certificate": ("__proxy_installed",),
    "firewall": ("__firewall_loaded",),
    "services": ("__mcp_tunnel_applied",),
}
_OF_TUNNEL = ("__provision_ca", "__provision_token", "__provision_tunnel")
_PLAN = "mcp_tunnel_plan"


class ActionModule(CheckedModule):
    """Asks the host only if it has a directory for the report."""

    _VALID_ARGS = frozenset(("directory", "instance"))

    def fields(self, arguments: Mapping[str, Any]) -> Fields:
        """See the module's documentation."""
        return {"parts": subset(arguments["parts"]), "written": flag}

    def ask(
        self,
        task_vars: dict[str, Any],
        module: str | None = None,
        arguments: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """See the module's documentation."""
        _validation, options = self.validate_argument_spec(
            {
                "instance": {"type": "str", "required": True},
                "directory": {"type": "str", "default": ""},
            }
        )
        of_tunnel = task_vars["hostvars"][task_vars[_PLAN]["leader"]]
        parts = _parts(task_vars, of_tunnel)
        found = {"changed": False, "parts": parts, "written": False}
        if not options["directory"]:
            return found
        expiry = _seconds(str(_result(of_tunnel, "__provision_ca").get("not_after", "")))
        known = {"parts": parts, "checked_at": int(time.time()), "ca_expiry": expiry}
        # The host repeats the parts; those of the controller count.
        return {**super().ask(task_vars, arguments={**options, **known}), "parts": parts}


def _parts(of_replica: Mapping[str, Any], of_tunnel: Mapping[str, Any]) -> list[str]:
    """The parts that differ."""
    found = {part: _differs(of_replica, *names) for part, names in _OF_REPLICA.items()}
    found["certificate"] |= bool(_result(of_replica, "__proxy_request").get("needed"))
    found["credentials"] = _differs(of_tunnel, *_OF_TUNNEL)
    return [part for part, differs in found.items() if differs]


def _differs(variables: Mapping[str, Any], *names: str) -> bool:
    return any(_result(variables, name).get("changed") for name in names)


def _result(variables: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = variables.get(name)
    return found if isinstance(found, Mapping) else {}


def _seconds(moment: str) -> int:
    """Unix time of a moment that a host has named; 0 if it is none."""
    try:
        found = datetime.datetime.strptime(moment, "%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        return 0
    return int(found.replace(tzinfo=datetime.timezone.utc).timestamp())
