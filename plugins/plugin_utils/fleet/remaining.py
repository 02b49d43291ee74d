# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom a run still goes on with, after failures and lost connections."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

FAILED = "__mcp_tunnel_failed"
"""The group of hosts that have failed and stay in the run, see playbooks/plays/failed.yml."""

NOT_LET_GO = "__mcp_tunnel_not_let_go"
"""That of hosts which could not let go of their instance."""

Replicas = Mapping[str, Sequence[str]]
"""Each host of the run, and the replicas of its tunnel."""


def stopped(replicas: Replicas, lost: Collection[str], here: Iterable[str]) -> list[str]:
    """The hosts that do not go on, as a replica of their tunnel is lost.

    :param lost: hosts that took part and have failed, or cannot be reached any more
    :param here: hosts that still take part
    """
    gone = set(lost)
    return [name for name in here if not gone.isdisjoint(replicas[name])] if gone else []


def firsts(replicas: Replicas, here: Iterable[str]) -> list[str]:
    """The first replica of each tunnel among these hosts, in the order of the tunnel's replicas."""
    names = list(here)
    present = set(names)
    # The replicas of a tunnel are the same list for each of them: its first name tells it apart.
    tunnels = {replicas[name][0]: replicas[name] for name in names}
    return [next(name for name in members if name in present) for members in tunnels.values()]
