# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What follows from the hosts that could not be reached before anything was changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import waves


@dataclass(frozen=True)
class Reach:
    """The replicas of one tunnel in a run.

    :param replicas: all of them, also those that take no part.
    :param here: those that answered.
    :param unreachable: those that did not.
    """

    replicas: Sequence[str]
    here: Sequence[str]
    unreachable: Sequence[str]


def why_stopped(reach: Reach, plan: Mapping[str, Any], least: Any) -> str:
    """Why a tunnel cannot go on without its unreachable replicas; empty if it can.

    :param plan: that of any of its replicas.
    :param least: the value of ``mcp_tunnel_min_available``.
    """
    if not reach.unreachable:
        return ""
    who = f"{', '.join(reach.unreachable)} could not be reached"
    if plan["duty"] != "deploy":
        return f"{who}, and {plan['duty']} needs every replica"
    if plan["state_host"] in reach.unreachable:
        return f"{who}, and {plan['state_host']} is the state host"
    wanted = waves.least_of(least, len(reach.replicas))
    left = len(reach.replicas) - len(reach.unreachable)
    if left < wanted:
        return f"{who}, and mcp_tunnel_min_available is {least}: {left} are left"
    return ""
