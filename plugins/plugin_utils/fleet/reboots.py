# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The waves of a reboot: machines, because a reboot takes every instance on a machine away.

And the reasons for which a tunnel has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError

Machines = Sequence[Sequence[str]]
"""The inventory hosts of each machine."""


def by_machine(marks: Mapping[str, str]) -> list[list[str]]:
    """The inventory hosts of each machine, in the order of *marks*: host to its machine's mark."""
    found: dict[str, list[str]] = {}
    for name, mark in marks.items():
        found.setdefault(mark, []).append(name)
    return list(found.values())


def make_waves(machines: Machines, tunnels: Iterable[tuple[Sequence[str], int]]) -> list[list[str]]:
    """The hosts of each wave. Each machine is in the first wave that has room for all of it.

    :param tunnels: the replicas of each tunnel, and how many of them may be away at once.
    """
    rooms = [(set(replicas), batch) for replicas, batch in tunnels]
    waves: list[list[str]] = []
    for machine in machines:
        place = next((wave for wave in waves if _has_room(wave, machine, rooms)), None)
        if place is None:
            waves.append(list(machine))
        else:
            place += machine
    return waves


def _has_room(
    wave: Sequence[str], machine: Sequence[str], rooms: Sequence[tuple[set[str], int]]
) -> bool:
    return all(
        len(replicas.intersection((*wave, *machine))) <= batch
        for replicas, batch in rooms
        if replicas.intersection(machine)
    )


def lost(host: str, dispensable: bool) -> TunnelError:
    """A replica that is not in the run any more: a tunnel stops with the first one that fails.

    :param dispensable: whether a run that leaves it out would go on.
    """
    return TunnelError(
        host,
        "has failed, or could not be reached, see above, so no replica of its tunnel is rebooted",
        f"Mend it{', or leave it out with --limit' if dispensable else ''}, and run again",
    )


def cut_off(host: str, other: str, dispensable: bool) -> TunnelError:
    """A replica of this inventory on the machine of *host*, that nobody would drain.

    :param dispensable: whether a run that leaves the machine out would go on with this tunnel.
    """
    return TunnelError(
        host,
        f"is one machine with {other}, which takes no part in this run and would be cut off",
        f"Run on both{', or on neither' if dispensable else ''}",
    )


def unknown(host: str, instance: str) -> TunnelError:
    """An instance on the machine of *host* that this inventory does not have there."""
    return TunnelError(
        host,
        f"also has instance {instance}, which takes no part in this run and would be cut off",
        "Run with an inventory that has both. Or drain that instance before, by drain.yml with its "
        "own inventory; tear it down (teardown.yml) if nobody uses it",
    )


def beside(host: str, other: str, dispensable: bool) -> TunnelError:
    """A replica on the machine of *host* whose tunnel stops, and that nobody drains then.

    :param dispensable: whether a run that leaves the machine out would go on with this tunnel.
    """
    return TunnelError(
        host,
        f"is one machine with {other}, whose tunnel stops, see there, and which would be cut off",
        f"Mend that{', or leave both out with --limit' if dispensable else ''}, and run again",
    )
