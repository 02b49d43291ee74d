# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks that a host's nft and kernel know everything that the firewall's rules use."""

from __future__ import annotations

import platform
import re
import subprocess

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall.table import NFT

MINIMUM_NFT = (0, 9, 4)  # intervals in concatenations (ip daddr . tcp dport); Linux 5.6

# Every kind of set, expression and statement of roles/firewall/templates, in a table of its own
# that `nft -c` does not keep. Users by number: before the first run, those by name do not exist.
PROBE = """\
table inet mcp_tunnel_probe
delete table inet mcp_tunnel_probe
table inet mcp_tunnel_probe {
    counter who/rule/instance { packets 1 bytes 1 }
    set networks_v4 { type ipv4_addr; flags interval; auto-merge; elements = { 192.0.2.0/24 } }
    set networks_v6 { type ipv6_addr; flags interval; auto-merge; elements = { 2001:db8::/32 } }
    set upstreams { type ipv4_addr . inet_service; flags interval; elements = { 10.0.0.0/8 . 80 } }
    set asked_v6 { type ipv6_addr . inet_service; elements = { 2001:db8::1 . 53 } }
    set account/name { type uid; elements = { 65534 } }
    chain output {
        type filter hook output priority filter; policy accept;
        tcp sport { 80, 81 } tcp flags & (syn | ack) == syn goto service
        tcp sport { 80, 81 } ct direction original tcp flags & rst == 0 goto service
        meta skuid @account/name goto service
        oifname "lo" ct direction reply ct state established counter name who/rule/instance accept
        ct direction original ct state established tcp flags & syn == 0 accept comment "text"
        ip daddr @networks_v4 meta l4proto { tcp, udp } th dport { 53, 853 } accept
        ip6 daddr @networks_v6 meta l4proto { tcp, udp } th dport 53 accept
        ip daddr . tcp dport @upstreams accept
        ct direction original ct status dnat ct original ip daddr @networks_v4 accept
        meta l4proto tcp ct original ip daddr . ct original proto-dst @upstreams accept
        meta l4proto { tcp, udp } ct original ip6 daddr . ct original proto-dst @asked_v6 accept
        tcp dport { 80, 81 } meta skuid != 0 jump service
        meta skuid < 1000 udp dport 123 accept
        ct state { established, related } tcp sport { 22 } accept
    }
    chain input {
        type filter hook input priority filter + 1; policy drop;
        iifname != "lo" jump service
        icmp type { echo-request, destination-unreachable, time-exceeded, parameter-problem } accept
        icmpv6 type { destination-unreachable, packet-too-big, time-exceeded } accept
        icmpv6 type parameter-problem accept
        icmpv6 type { nd-router-advert, nd-neighbor-solicit, mld-listener-query } accept
        icmpv6 type { mld-listener-report, mld-listener-done, mld2-listener-report } accept
        icmpv6 type { nd-router-solicit, nd-neighbor-advert } accept
        meta nfproto ipv4 udp sport 67 udp dport 68 accept
        meta nfproto ipv6 ip6 saddr fe80::/10 accept
        ip saddr { 192.0.2.0/24 } accept
    }
    chain forward { type filter hook forward priority filter + 1; policy drop; }
    chain service {
        limit rate 6/minute burst 10 packets log prefix "text" level notice flags skuid
        meta l4proto tcp reject with tcp reset
        reject with icmpx type admin-prohibited
    }
}
"""


def lacks() -> list[str]:
    """The things that the host lacks for the firewall, each with the remedy; needs root."""
    try:
        version = _nft("--version").stdout
    except FileNotFoundError:
        return [f"nftables: there is no {NFT}. Install the distribution's package nftables"]
    numbers = re.search(r"v(\d+)\.(\d+)(?:\.(\d+))?", version)
    if numbers and tuple(int(part or 0) for part in numbers.groups()) < MINIMUM_NFT:
        return [
            f"nftables: {'.'.join(map(str, MINIMUM_NFT))} or later is needed, found is "
            f"{numbers.group()[1:]}. Upgrade the package nftables, or use a supported operating "
            f"system"
        ]
    probe = _nft("-c", "-f", "-", text=PROBE)
    return [refused(probe.stderr, platform.release())] if probe.returncode else []


def refused(error: str, kernel: str) -> str:
    """The message about a failed probe: *error* is what nft wrote, *kernel* the release."""
    found = re.search(r"^\S*?:(\d+):[\d-]+: Error: (.*)$", error, re.MULTILINE)
    if not found:
        reason = error.strip().partition("\n")[0] or "it said nothing"
        return (
            f"nftables: nft could not ask the kernel: {reason}. A container needs the capability "
            "CAP_NET_ADMIN, and a kernel its module nf_tables"
        )
    rule = PROBE.splitlines()[int(found.group(1)) - 1].strip()
    return (
        f"nftables: the kernel, {kernel}, or nft lacks what the firewall's rules use: "
        f"{rule!r} ({found.group(2)}). Boot the distribution's own kernel with all its netfilter "
        "modules; in a container, load them on its host"
    )


def _nft(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        [NFT, *arguments], input=text, capture_output=True, text=True, check=False
    )
