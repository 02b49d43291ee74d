# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of this collection's variables, and hosts whose facts use them.

Ansible takes facts from any result of a module, and from a cache of earlier runs. They outrank the
inventory, so a host could set what another host, or the controller, works with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import role_options

#: Beginnings of variables that no operator sets, and of all that begin like the tunnel's own.
_PREFIXES = (
    "mcp_tunnel_",
    "__mcp_tunnel_",
    "__provision_",
    "__proxy_",
    "__cloudflared_",
    "__firewall_",
)
#: Variables of Ansible's connection plugins that it does not itself remove from facts. Where facts
#: are variables, these choose programs of the controller, and sockets to other hosts.
_OF_CONNECTIONS = frozenset(
    (
        "control_path",
        "control_path_dir",
        "host_key_checking",
        "private_key",
        "private_key_passphrase",
        "scp_executable",
        "sftp_batch_mode",
        "sftp_executable",
        "ssh_host_key_checking",
        "sshpass_prompt",
    )
)
#: Beginnings of variables of lookups. The variables of an operator may be read from Vault, with the
#: operator's token: of ansible-core url, and community.hashi_vault (docs/vault.md).
_OF_LOOKUPS = ("lookup_", "hashi_vault_")
_SHOWN = 5
#: Read with the plugin: each task of each host has a process of its own, which would read it anew.
_PUBLIC = frozenset(role_options.defaults())


def own_names(names: Iterable[Any]) -> list[str]:
    """The names that belong to this collection, sorted."""
    return sorted(
        name
        for name in map(str, names)
        if name in _PUBLIC or name.removeprefix("ansible_").startswith(_PREFIXES)
    )


def _steering(names: Iterable[Any]) -> list[str]:
    """The names that say to whom Ansible connects, and how, sorted."""
    return sorted(
        name
        for name in map(str, names)
        if name.removeprefix("ansible_") in _OF_CONNECTIONS
        or name.removeprefix("ansible_").startswith(_OF_LOOKUPS)
    )


def check_facts(host: str, facts: Any) -> None:
    """Refuses a host whose facts have a name of ours, or one that steers a connection.

    :param facts: Ansible's ``ansible_facts`` of the host.
    :raises TunnelError: if there is such a name.
    """
    if not isinstance(facts, Mapping):
        return
    found, owner = own_names(facts), "mcp_tunnels.stack"
    if not found:
        found, owner = _steering(facts), "Ansible's connections"
    if not found:
        return
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    shown = ", ".join(ascii(name[:64])[1:-1] for name in found[:_SHOWN])
    raise TunnelError(
        host,
        f"its facts set variables of {owner}, which only the operator may: {shown}{more}",
        "If nothing of yours sets such facts (a custom fact, set_fact with cacheable, "
        "a fact cache), treat the host as broken into: leave it in the inventory and run "
        "mcp_tunnels.stack.breach (docs/breach.md). If something does, give it other names "
        "and clear the fact cache: ansible-playbook --flush-cache",
    )
