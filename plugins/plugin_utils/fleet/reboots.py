# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The waves of a reboot: machines, because a reboot takes every instance on a machine away."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

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
