"""Every address inside a lab. All labs use the same: each has a network namespace of its own.

The edge's addresses are picks from the vendor's published ranges (198.41.192.0/19 and
2606:4700:a0::/44), so that hosts, firewall rules and flags are those of production.
"""

from __future__ import annotations

from dataclasses import dataclass

BRIDGE = "br0"

#: Resolver and default gateway of the hosts.
GATEWAY_V4 = "10.77.0.1"
GATEWAY_V6 = "fd77::1"
#: Upstream MCP servers.
UPSTREAM_V4 = "10.77.0.2"
UPSTREAM_V6 = "fd77::2"
#: The Tunnels API.
API_V4 = "10.77.0.3"
#: Issuers, STS, GitHub, Okta; and where every cloud has its metadata server.
IDENTITY_V4 = "10.77.0.4"
METADATA_V4 = "169.254.169.254"

EDGE_PORT = 7844
#: Name of a region as cloudflared looks it up -> its addresses.
EDGE_REGIONS: dict[str, tuple[str, ...]] = {
    "region1.v2.argotunnel.com": (
        "198.41.192.7",
        "198.41.192.27",
        "2606:4700:a0::1",
        "2606:4700:a0::2",
    ),
    "region2.v2.argotunnel.com": (
        "198.41.200.13",
        "198.41.200.23",
        "2606:4700:a8::1",
        "2606:4700:a8::2",
    ),
}
EDGE_ADDRESSES: tuple[str, ...] = tuple(a for each in EDGE_REGIONS.values() for a in each)

_FIRST_HOST = 11
MAX_HOSTS = 100


@dataclass(frozen=True)
class HostAddress:
    """The addresses of the host with the given index (0 is the first host)."""

    index: int

    @property
    def v4(self) -> str:
        return f"10.77.0.{_FIRST_HOST + self.index}"

    @property
    def v6(self) -> str:
        # Written alike in both families (10.77.0.11, fd77::11): easier to read in a log.
        return f"fd77::{_FIRST_HOST + self.index}"

    @property
    def mac(self) -> str:
        """Kept over reboots as a machine keeps it: neighbours remember it for a while."""
        return f"02:77:00:00:00:{_FIRST_HOST + self.index:02x}"


def local_addresses() -> tuple[str, ...]:
    """What the bridge itself holds, with prefix length: services are reached there."""
    lan = (
        *(f"{address}/24" for address in (GATEWAY_V4, UPSTREAM_V4, API_V4, IDENTITY_V4)),
        *(f"{GATEWAY_V6}/64", f"{UPSTREAM_V6}/64", f"{METADATA_V4}/32"),
    )
    edge = tuple(f"{a}/{128 if ':' in a else 32}" for a in EDGE_ADDRESSES)
    return lan + edge
