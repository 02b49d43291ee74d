# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The addresses that the proxy never dials. The preflight and the hosts themselves use it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

# Where clouds hand out credentials of the machine: AWS, Azure, GCP and others; AWS to containers
# (ECS, EKS); Azure's platform service; Alibaba.
METADATA_ADDRESSES = tuple(
    IPv4Address(text)
    for text in (
        "169.254.169.254",
        "169.254.170.2",
        "169.254.170.23",
        "168.63.129.16",
        "100.100.100.200",
    )
)


def why_not_dialled(address: IPv4Address, allowed: list[IPv4Network]) -> tuple[str, str] | None:
    """Why the proxy may not dial the address, as the rest of a sentence, and the remedy."""
    if address in METADATA_ADDRESSES:
        return (
            "is a cloud's metadata address, which hands out the host's credentials: the firewall "
            "never lets the proxy talk to it",
            "Route to an MCP server instead",
        )
    if not any(address in network for network in allowed):
        return (
            f"is in none of {', '.join(map(str, allowed))}, so the proxy would never dial it",
            "Add its network to proxy_allowed_ips (which replaces the default, the private "
            "networks)",
        )
    return None
