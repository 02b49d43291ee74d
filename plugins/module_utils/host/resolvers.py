# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The name servers that a host asks."""

from __future__ import annotations

import ipaddress
import re


def resolvers(resolv_conf: str) -> list[str]:
    """Addresses of the name servers in resolv.conf(5) text, in its order."""
    addresses = []
    for text in re.findall(r"^\s*nameserver\s+(\S+)", resolv_conf, re.MULTILINE):
        try:
            addresses.append(str(ipaddress.ip_address(text.partition("%")[0])))
        except ValueError:
            continue
    return addresses
