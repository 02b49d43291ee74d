# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is taken out of a run as broken into, and who goes on without it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.fleet import neighbours

DUTY = "breach"
GROUP = "__mcp_tunnel_breached"
"""The group of the hosts that the rest of the run does without; see playbooks/breach.yml."""
_NAMES = "mcp_tunnel_breached"


def without(names: Iterable[str], groups: Mapping[str, Sequence[str]]) -> list[str]:
    """The hosts that this run still goes on with.

    :param groups: those of the run, in which an earlier play has put the others aside.
    """
    gone = set(groups.get(GROUP, ()))
    return [name for name in names if name not in gone]


def named(group: neighbours.Hosts, taking_part: Sequence[str]) -> list[str]:
    """The hosts that the variables of the run name, in their order."""
    given = [group[name][_NAMES] for name in taking_part if name in group]
    return list(dict.fromkeys(n for each in given if isinstance(each, list) for n in each))


def check(
    group: neighbours.Hosts,
    machines: Mapping[str, Any],
    names: Sequence[str],
    taking_part: Collection[str],
    duty: str,
) -> Iterator[TunnelError]:
    """The problems with these names, before any host is touched.

    :param machines: host to what tells its machine from others.
    :param duty: the purpose of the run.
    """
    if duty != DUTY:
        if names:
            remedy = "Leave it out: the state host remembers who was taken out"
            yield TunnelError(_NAMES, f"is for breach, and {duty} does not go by it", remedy)
        return
    if not names:
        remedy = f"Name the hosts, as {_NAMES}: [replica2]"
        yield TunnelError(_NAMES, "does not say which host was broken into", remedy)
    strangers = [name for name in names if name not in group]
    if strangers:
        told = ", ".join(repr(str(name)[:100]) for name in strangers)
        yield TunnelError(_NAMES, f"names {told}, no replica", "Use names of the group mcp_tunnel")
    known = [name for name in names if name in group]
    yield from _check_machines(known, machines)
    yield from _check_rest(known, group, taking_part)


def _check_machines(names: Sequence[str], machines: Mapping[str, Any]) -> Iterator[TunnelError]:
    """All instances of a machine are lost together."""
    lost = {machines[name]: name for name in names}
    for name in machines:
        if name not in names and machines[name] in lost:
            yield TunnelError(
                _NAMES,
                f"names {lost[machines[name]]}, and {name} is on the same machine",
                "Name both: who broke in knows the secrets of both",
            )


def _check_rest(
    names: Sequence[str], group: neighbours.Hosts, taking_part: Collection[str]
) -> Iterator[TunnelError]:
    """Somebody has to go on, and everybody has to get the new credentials."""
    for replicas in neighbours.instances(group).values():
        lost = [name for name in replicas if name in names]
        left = [name for name in replicas if name not in names]
        if lost and not left:
            instance = group[lost[0]]["mcp_tunnel_instance"]
            yield TunnelError(
                _NAMES,
                f"names every replica of instance {instance!r}, so nobody could get new "
                "credentials",
                "Add another host to the inventory, and deploy it in this run; or end the tunnel "
                "with teardown.yml",
            )
        absent = [name for name in replicas if lost and name not in taking_part]
        if absent:
            yield TunnelError(
                "--limit",
                f"leaves out {', '.join(absent)}, which would be cut off when the old CA is "
                "archived",
                "Run on all replicas",
            )


def surviving(group: neighbours.Hosts, names: Collection[str]) -> list[str]:
    """The other replicas of the tunnels that a host of *names* served."""
    return [
        name
        for replicas in neighbours.instances(group).values()
        if any(each in names for each in replicas)
        for name in replicas
        if name not in names
    ]
