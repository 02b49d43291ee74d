# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of hosts as the waves need them: each means one host, wherever it is written.

The waves are lists of names, which Ansible reads as patterns. A name that is a pattern of others
would leave its host out, or take along those of a group. Replicas also keep the names in files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ansible.inventory.manager import split_host_pattern
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision.members import NAME


def check(name: str, groups: Mapping[str, Sequence[str]]) -> Iterator[TunnelError]:
    """The problems with the name of a host.

    :param groups: each group of the inventory and its hosts.
    """
    if not NAME.match(name) or split_host_pattern(name) != [name]:
        yield TunnelError(
            f"Host {name!r}",
            "has a name that may mean other hosts in a list of hosts, or none",
            "Name it in letters, digits, and _ . - within, and put its address into ansible_host",
        )
    elif name in groups and list(groups[name]) != [name]:
        yield TunnelError(
            f"Host {name!r}",
            "has the name of a group, whose hosts would be deployed in its place",
            "Rename the host or the group in the inventory",
        )
