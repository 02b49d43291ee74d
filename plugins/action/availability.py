# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Concludes whether enough replicas stay while others leave the edge. Makes no connection."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.fleet import (
    availability,
    neighbours,
    reboots,
)

# Registered before, see the module's documentation.
_PLAN, _HEALTH, _BOOT = "mcp_tunnel_plan", "__mcp_tunnel_health", "__mcp_tunnel_boot"
_HELD = "__provision_held"
_GROUP, _SETTINGS = "__mcp_tunnel_group", "__mcp_tunnel_settings"
_LAST = "mcp_tunnel_drain_last"

_BACK = availability.Standing(healthy=True)
"""How a replica stands after its reboot."""


class ActionModule(ActionBase):
    """Runs on the controller only."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset(("group", "reboot"))

    def run(self, tmp: None = None, task_vars: Any = None) -> dict[str, Any]:
        """See the module's documentation."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(
            {
                "group": {"type": "str", "default": "mcp_tunnel"},
                "reboot": {"type": "bool", "default": False},
            }
        )
        run = _Run(task_vars, arguments["group"], arguments["reboot"])
        waves, stopped = _conclude(run, arguments["reboot"], task_vars[_GROUP]["leaving"])
        result.update(
            changed=False,
            problems=[problem for problems in stopped.values() for problem in problems],
            stopped=stopped,
            going_on=sorted(run.instances() - stopped.keys()),
            waves={
                "order": [name for wave in waves for name in wave],
                "sizes": [len(wave) for wave in waves],
            },
            first=[names[0] for names in run.machines],
            machines=run.machine_of,
        )
        return result


def _conclude(
    run: _Run, reboot: bool, named: Sequence[str]
) -> tuple[list[list[str]], dict[str, list[str]]]:
    """The waves of those that may leave, and each instance that stops, with its problems.

    One that stops may stop another one, as on a machine of both. Each round stops one at least.
    """
    stopped: dict[str, list[str]] = {}
    while True:
        waves = run.reboots(stopped) if reboot else [run.without(named, stopped)]
        found = [*run.problems(waves), *(run.of_reboots(waves, stopped) if reboot else ())]
        new = [pair for pair in dict.fromkeys(found) if pair[0] not in stopped]
        if not new:
            return waves, stopped
        for instance, problem in new:
            stopped.setdefault(instance, []).append(problem)


class _Run:
    """What the plays before have registered for the hosts of the group.

    ``machines``: the inventory hosts of each machine, the first of which reboots it for all of
    them; ``machine_of``: each host with those of its machine.
    """

    def __init__(self, task_vars: Mapping[str, Any], group: str, reboot: bool) -> None:
        self._reboot = reboot
        self._names = list(task_vars["groups"].get(group, []))
        self._here = [name for name in self._names if name in task_vars["ansible_play_hosts"]]
        self._lost = [
            name
            for name in self._names
            if name in task_vars["ansible_play_hosts_all"] and name not in self._here
        ]
        # Each host is read once: its variables are worked out anew every time.
        read = {name: task_vars["hostvars"][name] for name in self._names}
        self._group = {name: neighbours.taken(read[name]) for name in self._names}
        self._addresses = {name: neighbours.machine(name, read[name]) for name in self._names}
        # Also of a leader that has failed since: its lease holds.
        self._held = {name: _result(read[name], _HELD) for name in self._names}
        self._plans = {name: read[name].get(_PLAN, {}) for name in self._here}
        self._settings = {name: read[name].get(_SETTINGS, {})["variables"] for name in self._here}
        self._boots = {name: _result(read[name], _BOOT) for name in self._here}
        self.machines = reboots.by_machine(
            {name: boot["machine"] for name, boot in self._boots.items() if "machine" in boot}
        )
        self.machine_of = {name: names for names in self.machines for name in names}
        self._at: dict[tuple[str, str], list[str]] = {}
        for name, address in self._addresses.items():
            self._at.setdefault(address, []).append(name)
        self._standing = {
            name: _standing(_result(read[name], _HEALTH))
            if name in self._here
            else availability.Standing(lost=name in self._lost)
            for name in self._names
        }

    def problems(self, waves: Sequence[list[str]]) -> Iterator[tuple[str, str]]:
        """Why the hosts of each wave may not leave at the same time, one wave after the other.

        Each with its instance.
        """
        for instance, names in neighbours.instances(self._group).items():
            leaving = any(name in wave and name in self._here for wave in waves for name in names)
            if leaving and not any("holder" in self._held[name] for name in names):
                yield str(instance), str(_not_held(instance))
        for instance, problem in self._too_few(waves, self._standing):
            yield instance, str(problem)

    def _too_few(
        self, waves: Sequence[Sequence[str]], at_first: Mapping[str, availability.Standing]
    ) -> Iterator[tuple[str, TunnelError]]:
        """Each tunnel of which too few replicas would stay in a wave.

        :param at_first: how the replicas stand before the first of these waves.
        """
        standing = dict(at_first)
        for wave in waves:
            for instance, names in neighbours.instances(self._group).items():
                # Those that have failed meanwhile do not leave.
                away = [name for name in names if name in wave and name in self._here]
                if away and not all(self._plans[name]["switches"][_LAST] for name in away):
                    replicas = {name: standing[name] for name in names}
                    minimum = availability.least(self._group, names)
                    found = availability.too_few(replicas, away, minimum, self._reboot)
                    if found:
                        yield str(instance), found
            # The run goes on only if they are back, and proven.
            standing.update((name, _BACK) for name in wave if not self._stays_away(name))

    def _is_dispensable(
        self, names: Sequence[str], instance: str, waves: Sequence[Sequence[str]]
    ) -> bool:
        """Whether a run that leaves these hosts out would reboot the others of this instance."""
        standing = {**self._standing, **{name: availability.Standing() for name in names}}
        rest = [[name for name in wave if name not in names] for wave in waves]
        return instance not in {each for each, _problem in self._too_few(rest, standing)}

    def instances(self) -> set[str]:
        """The instances of which a replica is here."""
        return {self._instance(name) for name in self._here}

    def _instance(self, name: str) -> str:
        return str(self._group[name]["mcp_tunnel_instance"])

    def without(self, names: Sequence[str], stopped: Collection[str]) -> list[str]:
        """Those of the names whose instances have not stopped."""
        return [name for name in names if self._instance(name) not in stopped]

    def reboots(self, stopped: Collection[str]) -> list[list[str]]:
        """The waves of those machines that are to be rebooted, first those that serve nothing."""
        drained = [name for name in self._here if self._stays_away(name)]
        going = [names for names in self._due() if self.without(names, stopped) == names]
        due = sorted(going, key=lambda names: any(self._standing[n].serves for n in names))
        return reboots.make_waves(due, availability.tunnels(self._group, self._here, drained))

    def _stays_away(self, name: str) -> bool:
        """Whether an operator has drained it, and not an earlier reboot that was interrupted."""
        return self._standing[name].drained and not self._is_interrupted(name)

    def _is_interrupted(self, name: str) -> bool:
        return self._boots[name].get("interrupted") is True

    def of_reboots(
        self, waves: Sequence[list[str]], stopped: Collection[str]
    ) -> Iterator[tuple[str, str]]:
        """Why instances may not be rebooted at all, each with its instance."""
        leaving = [name for wave in waves for name in wave]
        going = set(map(self._instance, leaving))
        for name in self._lost:
            if self._instance(name) in going:
                dispensable = self._is_dispensable([name], self._instance(name), waves)
                yield self._instance(name), str(reboots.lost(name, dispensable))
        for name in leaving:
            for problem in self._strangers(name, waves):
                yield self._instance(name), str(problem)
        for names in self._due():
            ends = [name for name in names if self._instance(name) in stopped]
            for name in names if ends else ():
                dispensable = self._is_dispensable(names, self._instance(name), waves)
                yield self._instance(name), str(reboots.beside(name, ends[0], dispensable))

    def _strangers(self, name: str, waves: Sequence[Sequence[str]]) -> Iterator[TunnelError]:
        """Replicas on the machine of *name* that take no part, and would be cut off.

        The inventory shows some, by their addresses, and the machine itself those in service.
        """
        beside = self._at[self._addresses[name]]
        for other in beside:
            if other not in self._boots:
                machine = self.machine_of[name]
                dispensable = self._is_dispensable(machine, self._instance(name), waves)
                yield reboots.cut_off(name, other, dispensable)
        known = {self._instance(other) for other in (*beside, *self.machine_of[name])}
        for instance in self._boots[name]["in_service"]:
            if instance not in known:
                yield reboots.unknown(name, instance)

    def _due(self) -> list[list[str]]:
        return [machine for machine in self.machines if any(map(self._is_due, machine))]

    def _is_due(self, name: str) -> bool:
        when = self._settings[name].get("mcp_tunnel_reboot_when", "always")
        needed = self._boots[name].get("needed") is True
        # One that was interrupted is completed.
        return when == "always" or needed or self._is_interrupted(name)


def _not_held(instance: str) -> TunnelError:
    return TunnelError(
        f"Instance {instance}",
        "is not held by this run, see above, so another run may take other replicas away",
        "Mend that, and run again",
    )


def _result(hostvars: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = hostvars.get(name)
    usable = isinstance(found, Mapping) and not (found.get("failed") or found.get("unreachable"))
    return dict(found) if isinstance(found, Mapping) and usable else {}


def _standing(health: Mapping[str, Any]) -> availability.Standing:
    return availability.Standing(health.get("healthy"), bool(health.get("drained")))
