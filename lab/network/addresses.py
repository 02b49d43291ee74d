"""Every address inside a lab. All labs use the same: each has a network namespace of its own.

The edge's addresses are picks from the vendor's published ranges (198.41.192.0/19 and
2606:4700:a0::/44), so that hosts, firewall rules and flags are those of production.
"""

from __future__ import annotations

from dataclasses import dataclass

BRIDGE = "br0"
BRIDGE_MAC = "02:77:00:00:00:01"

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
METADATA_V6 = "fd00:ec2::254"

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

#: Addresses of the edge's ranges where sinks listen instead of the edge, on other ports too.
EDGE_SINK_V4 = "198.41.192.107"
EDGE_SINK_V6 = "2606:4700:a0::107"
#: A machine of the wider Internet, and the lab's gateway on the way there.
INTERNET_V4 = "203.0.113.7"
INTERNET_V6 = "2001:db8:113::7"
INTERNET_GATEWAY_V4 = "203.0.113.1"
INTERNET_GATEWAY_V6 = "2001:db8:113::1"

#: The neighbour on the hosts' LAN, and the first host, as the last part of both addresses.
_NEIGHBOUR = 9
_FIRST_HOST = 11
MAX_HOSTS = 100


@dataclass(frozen=True)
class HostAddress:
    """The addresses of the host with the given index (0 is the first host)."""

    index: int

    @property
    def _last(self) -> int:
        return _FIRST_HOST + self.index

    @property
    def v4(self) -> str:
        return f"10.77.0.{self._last}"

    @property
    def v6(self) -> str:
        # The same digits in both families (10.77.0.11, fd77::11) are easier to read in a log.
        return f"fd77::{self._last}"

    @property
    def mac(self) -> str:
        """Kept over reboots as a machine keeps it: neighbours remember it for a while."""
        return f"02:77:00:00:00:{self._last:02x}"

    @property
    def link_local(self) -> str:
        """The address that the kernel makes from the MAC address (RFC 4291, appendix A)."""
        return f"fe80::77:ff:fe00:{self._last:x}"


NEIGHBOUR = HostAddress(_NEIGHBOUR - _FIRST_HOST)


def local_addresses() -> tuple[str, ...]:
    """The bridge's own addresses with prefix length: services are reached there."""
    lan = (
        *(f"{address}/24" for address in (GATEWAY_V4, UPSTREAM_V4, API_V4, IDENTITY_V4)),
        *(f"{GATEWAY_V6}/64", f"{UPSTREAM_V6}/64"),
        *(f"{METADATA_V4}/32", f"{METADATA_V6}/128"),
    )
    edge = tuple(f"{a}/{128 if ':' in a else 32}" for a in EDGE_ADDRESSES)
    return lan + edge
