# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A timer and the service of its name: whether systemd runs it. Their files are file_set's."""

from __future__ import annotations

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import systemd


def ensure(
    name: str, wanted: bool, check_mode: bool, others: tuple[str, ...] = (), socket: str = ""
) -> list[str]:
    """Makes the timer *name* (without ``.timer``) run, or not; returns what was done, and why.

    *others* are services that its own wants: they start with it, and end with the timer. *socket*
    is one that its service needs, and that listens as long as the timer runs.

    :raises TunnelError: if systemd refuses.
    """
    names = [f"{name}.timer", f"{name}.service", *others, *([socket] if socket else [])]
    units = systemd.show(names)
    if not wanted:
        # The services that it has started would go on without it.
        return _stop(units, check_mode, [f"{socket.removesuffix('.socket')}@*"] if socket else [])
    # The socket first: the service of the timer may start with it.
    started = [units.pop()] if socket else []
    return _start([*started, units[0]], units[1:], check_mode)


def _start(
    started: list[systemd.Unit], services: list[systemd.Unit], check_mode: bool
) -> list[str]:
    actions: list[str] = []
    for unit in started:
        # The services are the timer's, which is the last.
        belong = services if unit is started[-1] else []
        if not unit.running:
            reason = f"it was {unit.active or 'not there'}"
        elif any(each.needs_reload for each in (unit, *belong)):
            reason = "its units changed"
        else:
            continue
        if not check_mode:
            if not actions:
                systemd.systemctl("daemon-reload")
            systemd.systemctl("restart", unit.name)
        actions.append(f"{unit.name} started: {reason}")
    return actions


def _stop(units: list[systemd.Unit], check_mode: bool, started: list[str]) -> list[str]:
    """Stops them, even without their files: until told otherwise, systemd keeps them running.

    *started* are patterns of units that end with them.
    """
    live = [unit.name for unit in units if unit.active not in ("", "inactive", "failed")]
    failed = [unit.name for unit in units if unit.active == "failed"]
    if not check_mode:
        if live:
            systemd.systemctl("stop", *live, *started)
        if failed:
            systemd.systemctl("reset-failed", *failed)
        if live or failed:
            systemd.systemctl("daemon-reload")
    return [f"{name} stopped" for name in live] + [f"{name} forgotten" for name in failed]
