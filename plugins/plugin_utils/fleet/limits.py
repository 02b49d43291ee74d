# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of the service that an inventory may exceed (REFERENCE, section 1)."""

from __future__ import annotations

from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.fleet import neighbours

REPLICAS = 25
"""Replicas of a tunnel: each has four connections, of which the edge takes 100 per tunnel."""
TUNNELS = 10
"""Active tunnels of an organization."""


def warnings(group: neighbours.Hosts) -> list[str]:
    """Remarks on a group that is larger than the service allows."""
    instances = neighbours.instances(group)
    found = [
        f"mcp_tunnel_instance: {names[0]} and {len(names) - 1} more hosts are replicas of instance "
        f"{group[names[0]]['mcp_tunnel_instance']!r}. The edge takes the connections of "
        f"{REPLICAS}. Take some out of the group, or give them another tunnel."
        for names in instances.values()
        if len(names) > REPLICAS
    ]
    if len(instances) > TUNNELS:
        found.append(
            f"mcp_tunnel_instance: the group has {len(instances)} instances. An organization has "
            f"{TUNNELS} active tunnels at most, unless the vendor has raised that limit. Make sure "
            "that they belong to several organizations, or ask for more."
        )
    return found
