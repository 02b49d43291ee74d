# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts that a run takes out as broken into, and those that go on without them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision import breaches
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.fleet import neighbours
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.rollout.canaries import CANARY

DUTY = "breach"
GROUP = "__mcp_tunnel_breached"
"""The group of the hosts that the rest of the run does without; see playbooks/breach.yml."""
ROOM = 100
"""Marks of hosts that runs take out, for which a replica's memory always has room."""
_NAMES = "mcp_tunnel_breached"
_STATE_HOST = "mcp_tunnel_state_host"


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
    yield from _check_state_host(known, group)


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


def _check_state_host(names: Sequence[str], group: neighbours.Hosts) -> Iterator[TunnelError]:
    """The state host cannot be one of them."""
    given = {group[name][_STATE_HOST] for name in names}
    for name in sorted(given.intersection(names)):
        yield TunnelError(
            _STATE_HOST,
            f"is {name}, which {_NAMES} names",
            "Name the replica that is to take its place",
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


def without_canaries(
    values: Mapping[str, Any], groups: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """The variables of a host, with no canary that this run goes on without."""
    named = values[CANARY]
    kept = without(map(str, named), groups) if isinstance(named, list) else named
    return {**values, CANARY: kept if groups.get(GROUP) else named}


@dataclass(frozen=True)
class Memory:
    """The marks that the replicas of one tunnel remember, judged before the first secret is sent.

    The state host has them as well; but one that was broken into, or has lost them, says none.

    :param remembered: replica to what it remembers, its ``breached`` among that.
    :param machines: replica to what tells its installation from others.
    """

    remembered: Mapping[str, Mapping[str, Any]]
    machines: Mapping[str, str]

    def check(self, names: Iterable[str], state_host: str, forget: Collection[str] = ()) -> None:
        """Refuses a run that gives credentials to a marked host, or asks it for some.

        The state host decides about a host that the operator names, and whose name another machine
        has now. Nobody decides about the state host itself: a thief who is root there can state
        any machine, and the variables may still lead to it.

        :param names: the hosts of the run.
        :param forget: the hosts that the operator names as gone.
        :raises TunnelError: naming the host, and a replica that remembers it.
        """
        everyone = sorted({*names, state_host})
        for who, found in self.remembered.items():
            for mark in found.get("breached", []):
                for name in everyone:
                    is_other = name != state_host and self._is_back(mark, forget)
                    by_name = name == mark["name"] and not is_other
                    if by_name or _is_machine(name, self.machines.get(name, ""), mark, found):
                        raise _marked(name, mark, who)

    def check_heard(self, names: Iterable[str], state_host: str, silent: Sequence[str]) -> None:
        """Refuses new replicas that nobody but the state host could warn of the state host.

        :param names: the hosts of the run.
        :param silent: the replicas beside them that could not be asked.
        :raises TunnelError: naming those.
        """
        witnesses = [
            name for name, found in self.remembered.items() if found["state_host"] not in ("", name)
        ]
        if silent and not witnesses and set(names) - {state_host}:
            raise TunnelError(
                ", ".join(silent),
                f"could not be asked whether {state_host}, the state host, was taken out as broken "
                "into, and no other replica of this run remembers anything",
                "Bring it back, or run with a replica that is deployed in the limit; if it is gone "
                "for good, take it out of the inventory",
            )

    def kept(self, name: str, forget: Collection[str] = ()) -> list[dict[str, str]]:
        """The marks that a replica goes on to remember, whatever the state host says."""
        marks = self.remembered[name].get("breached", [])
        return [dict(mark) for mark in marks if not self._is_back(mark, forget)]

    def back(self, forget: Collection[str]) -> list[str]:
        """The marked hosts that the operator names, and whose name another machine has now."""
        marks = [mark for found in self.remembered.values() for mark in found.get("breached", [])]
        return sorted({mark["name"] for mark in marks if self._is_back(mark, forget)})

    def _is_back(self, mark: Mapping[str, str], forget: Collection[str]) -> bool:
        """Whether another machine has the name of a marked one, as the operator says, too."""
        now = self.machines.get(mark["name"], "")
        is_known = mark["machine"] not in breaches.UNKNOWN and now not in breaches.UNKNOWN
        return mark["name"] in forget and is_known and now != mark["machine"]


def to_remember(
    own: Iterable[Mapping[str, str]],
    told: Iterable[Mapping[str, str]],
    replicas: Collection[str],
    taken_out: Collection[str],
) -> list[Mapping[str, str]]:
    """The marks that a replica remembers from now on, sorted by name.

    Marks of this run and its own come first. Others may be invented: they leave room, as no more
    than :data:`breaches.MOST` would be read.

    :param own: those that it has. One whose machine is known stays as it is, whatever the state
        host says by now: that one may be put back as it was before, or be in other hands.
    :param told: those of the state host.
    :param replicas: the hosts of the inventory. None of them is marked: the mark would keep it from
        every run.
    :param taken_out: the hosts that this run takes out.
    """
    mine = {mark["name"]: mark for mark in sorted(own, key=lambda mark: not mark["machine"])}
    fixed = {*replicas, *(name for name, mark in mine.items() if mark["machine"])}
    new = {mark["name"]: mark for mark in told if mark["name"] not in fixed}
    sure = {name: mark for name, mark in new.items() if name in mine or name in taken_out}
    others = [mark for name, mark in new.items() if name not in sure]
    kept = [*sure.values(), *(mark for name, mark in mine.items() if name not in sure)]
    kept += others[: max(breaches.MOST - ROOM - len(mine), 0)]
    return sorted(kept[: breaches.MOST], key=lambda mark: mark["name"].lower())


def remembered_as(name: str, machine: str, remembered: Mapping[str, Mapping[str, Any]]) -> str:
    """Whether a host that is to keep the state was broken into; empty if nobody remembers that.

    Another machine of that name is refused as well: a thief who is root there can state any.

    :param machine: what tells its installation from others, empty if that is not known.
    :param remembered: replica to what it remembers: its ``replicas``, its ``breached``.
    :returns: who it was, when it was marked, and who remembers that.
    """
    for who, found in remembered.items():
        for mark in found.get("breached", []):
            if mark["name"] == name or _is_machine(name, machine, mark, found):
                was = "" if mark["name"] == name else f" (as {mark['name']})"
                return (
                    f"{name}{was}, taken out as broken into ({mark['since']}), as {who} remembers"
                )
    return ""


def _is_machine(name: str, machine: str, mark: Mapping[str, str], found: Mapping[str, Any]) -> bool:
    """Whether a host is the marked machine, which may have another name now.

    Clones have one machine-id: a replica besides the marked one is not that host.

    :param found: what the replica remembers that has the mark.
    """
    is_known = machine not in breaches.UNKNOWN
    return is_known and machine == mark["machine"] and name not in found["replicas"]


def _marked(name: str, mark: Mapping[str, str], who: str) -> TunnelError:
    known = "" if name == mark["name"] else f" (as {mark['name']})"
    return TunnelError(
        f"members.json on {who}",
        f"{name}{known} was taken out as broken into ({mark['since']}), so it gets no credentials "
        "and is no state host",
        breaches.way_back({mark["name"]: mark["machine"]})
        + ". If mcp_tunnel_state_host names it, name the host that has the credentials now. If the "
        "mark is not true, see docs/breach.md",
    )
