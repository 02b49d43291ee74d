# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Concludes whether enough replicas stay while others leave the edge. Makes no connection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
        run = _Run(task_vars, arguments["group"])
        leaving = run.reboots() if arguments["reboot"] else [task_vars[_GROUP]["leaving"]]
        found = [*run.problems(leaving), *(run.cut_off() if arguments["reboot"] else ())]
        stopped: dict[str, list[str]] = {}
        for instance, problem in dict.fromkeys(found):
            stopped.setdefault(instance, []).append(problem)
        result.update(
            changed=False,
            problems=[problem for problems in stopped.values() for problem in problems],
            stopped=stopped,
            waves={
                "order": [name for wave in leaving for name in wave],
                "sizes": [len(wave) for wave in leaving],
            },
            first=[names[0] for names in run.machines()],
            machines={name: names for names in run.machines() for name in names},
        )
        return result


class _Run:
    """What the plays before have registered for the hosts of the group."""

    def __init__(self, task_vars: Mapping[str, Any], group: str) -> None:
        self._names = list(task_vars["groups"].get(group, []))
        self._here = [name for name in self._names if name in task_vars["ansible_play_hosts"]]
        # Each host is read once: its variables are worked out anew every time.
        read = {name: task_vars["hostvars"][name] for name in self._names}
        self._group = {name: neighbours.taken(read[name]) for name in self._names}
        self._addresses = {name: neighbours.machine(name, read[name]) for name in self._names}
        self._held = {name: _result(read[name], _HELD) for name in self._here}
        self._plans = {name: read[name].get(_PLAN, {}) for name in self._here}
        self._settings = {name: read[name].get(_SETTINGS, {})["variables"] for name in self._here}
        self._boots = {name: _result(read[name], _BOOT) for name in self._here}
        self._standing = {
            name: _standing(_result(read[name], _HEALTH) if name in self._here else {})
            for name in self._names
        }

    def problems(self, waves: Sequence[list[str]]) -> Iterator[tuple[str, str]]:
        """Why the hosts of each wave may not leave at the same time, one wave after the other.

        Each with its instance.
        """
        standing = dict(self._standing)
        for wave in waves:
            for instance, names in neighbours.instances(self._group).items():
                # Those that have failed meanwhile do not leave.
                away = [name for name in names if name in wave and name in self._here]
                if away:
                    replicas = {name: standing[name] for name in names}
                    for problem in self._problems(instance, replicas, away):
                        yield str(instance), str(problem)
            # The run goes on only if they are back, and proven.
            standing.update((name, _BACK) for name in wave if not self._stays_away(name))

    def _problems(
        self, instance: Any, replicas: Mapping[str, availability.Standing], away: list[str]
    ) -> Iterator[TunnelError]:
        """Why these replicas of one tunnel may not leave at the same time."""
        if not any("holder" in self._held.get(name, {}) for name in replicas):
            yield _not_held(instance)
        minimum = availability.least(self._group, list(replicas))
        problem = availability.too_few(replicas, away, minimum)
        if problem and not all(self._plans[name]["switches"][_LAST] for name in away):
            yield problem

    def reboots(self) -> list[list[str]]:
        """The waves of those machines that are to be rebooted, first those that serve nothing."""
        drained = [name for name in self._here if self._stays_away(name)]
        due = sorted(self._due(), key=lambda names: any(self._standing[n].serves for n in names))
        return reboots.make_waves(due, availability.tunnels(self._group, self._here, drained))

    def _stays_away(self, name: str) -> bool:
        """Whether an operator has drained it, and not an earlier reboot that was interrupted."""
        return self._standing[name].drained and not self._is_interrupted(name)

    def _is_interrupted(self, name: str) -> bool:
        return self._boots[name].get("interrupted") is True

    def cut_off(self) -> Iterator[tuple[str, str]]:
        """Instances of machines that would be rebooted, and take no part in the run."""
        due = {self._addresses[name]: name for machine in self._due() for name in machine}
        for name in self._names:
            host = due.get(self._addresses[name])
            if host and name not in self._here:
                yield (
                    str(self._group[host]["mcp_tunnel_instance"]),
                    f"{host}: is one machine with {name}, which takes no part in this run and "
                    "would be cut off. Run on both, or on neither.",
                )

    def _due(self) -> list[list[str]]:
        return [machine for machine in self.machines() if any(map(self._is_due, machine))]

    def machines(self) -> list[list[str]]:
        """The inventory hosts of each machine. The first one reboots it for all of them."""
        marks = {name: boot["machine"] for name, boot in self._boots.items() if "machine" in boot}
        return reboots.by_machine(marks)

    def _is_due(self, name: str) -> bool:
        when = self._settings[name].get("mcp_tunnel_reboot_when", "always")
        needed = self._boots[name].get("needed") is True
        # One that was interrupted is completed.
        return when == "always" or needed or self._is_interrupted(name)


def _not_held(instance: str) -> TunnelError:
    return TunnelError(
        f"Instance {instance}",
        "is not held by this run, see above, so another run may take other replicas away",
        "Mend that, or leave out with --limit the replica that cannot be reached, and run again",
    )


def _result(hostvars: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = hostvars.get(name)
    usable = isinstance(found, Mapping) and not (found.get("failed") or found.get("unreachable"))
    return dict(found) if isinstance(found, Mapping) and usable else {}


def _standing(health: Mapping[str, Any]) -> availability.Standing:
    return availability.Standing(health.get("healthy"), bool(health.get("drained")))
