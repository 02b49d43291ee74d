# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shuts the firewall of a host that was broken into: a table of its own, beside all others."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import secret_files
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall import listing
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall import table as nft_table

TABLE = ("inet", "mcp_tunnel_containment")
PATH = "/etc/mcp-tunnel-containment.nft"
_ATTRIBUTES = secret_files.Attributes(mode=0o644, uid=0, gid=0)


@dataclass(frozen=True)
class WayIn:
    """How the operator reaches the host over SSH.

    :param ports: the ports of the host.
    :param sources: the networks that he may come from; none for everywhere.
    """

    ports: Collection[int]
    sources: Collection[str] = ()

    def text(self) -> str:
        """The variables of the rules, in nft's language."""
        lines = [("ssh", sorted(self.ports))]
        if self.sources:
            lines += [("ssh_ip", self._networks(4)), ("ssh_ip6", self._networks(6))]
        return "".join(
            f"define {name} = {{ {', '.join(map(str, values))} }}\n" for name, values in lines
        )

    def _networks(self, version: int) -> list[Any]:
        """Those of one family, none twice, as sets are refused that overlap, or are empty.

        So loopback is among them, which comes in anyway.
        """
        loopback = "127.0.0.1" if version == 4 else "::1"
        found = [ipaddress.ip_network(each, strict=False) for each in (*self.sources, loopback)]
        # The two types of networks do not sort together.
        family: list[Any] = [each for each in found if each.version == version]
        return list(ipaddress.collapse_addresses(family))


def ensure(rules: str, way_in: WayIn, check_mode: bool, path: str = PATH) -> dict[str, Any]:
    """Makes kernel and disk have these rules; returns the module's result.

    The kernel comes first, and is compared with what it would make of the rules: who flushes the
    ruleset leaves the file as it is. A disk that is full hinders nothing of that.

    :param rules: in nft's language, with the variables of *way_in*.
    :raises TunnelError: if they are refused, or cannot be kept.
    """
    text = way_in.text() + rules
    actions = []
    if not _is_in_force(text):
        actions.append("rules loaded")
        if not check_mode:
            nft_table.load(text)
    if not _is_kept(path, text):
        actions.append(f"{path} written")
        if not check_mode:
            _keep(path, text)
    return {"changed": bool(actions), "actions": actions}


def is_there() -> bool:
    """Whether this host was taken out as broken into, by its own files."""
    return secret_files.lstat(PATH) is not None


def _is_in_force(text: str) -> bool:
    """Whether the kernel has what it would make of the rules, which an empty namespace shows."""
    present = nft_table.listing(TABLE)
    wanted = nft_table.listing_of(text, TABLE) if present is not None else None
    return wanted is not None and listing.digest(wanted) == listing.digest(present or [])


def _is_kept(path: str, text: str) -> bool:
    try:
        return secret_files.read_file(path) == text.encode()
    except TunnelError:
        return False


def _keep(path: str, text: str) -> None:
    try:
        secret_files.write_file(path, text.encode(), _ATTRIBUTES)
    except OSError as error:
        raise TunnelError(
            path,
            f"cannot be written: {error.strerror or error}. The rules are in force until the next "
            "boot alone",
            "Cut the host off at the switch or in the cloud",
        ) from None
