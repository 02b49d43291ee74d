# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A timer and the service of its name: whether systemd runs it. Their files are file_set's."""

from __future__ import annotations

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import systemd


def ensure(name: str, wanted: bool, check_mode: bool, others: tuple[str, ...] = ()) -> list[str]:
    """Makes the timer *name* (without ``.timer``) run, or not; returns what was done, and why.

    *others* are services that its own wants: they start with it, and end with the timer.

    :raises TunnelError: if systemd refuses.
    """
    timer, *services = systemd.show([f"{name}.timer", f"{name}.service", *others])
    if wanted:
        return _start(timer, services, check_mode)
    return _stop([timer, *services], check_mode)


def _start(timer: systemd.Unit, services: list[systemd.Unit], check_mode: bool) -> list[str]:
    if not timer.running:
        reason = f"it was {timer.active or 'not there'}"
    elif any(unit.needs_reload for unit in (timer, *services)):
        reason = "its units changed"
    else:
        return []
    if not check_mode:
        systemd.systemctl("daemon-reload")
        systemd.systemctl("restart", timer.name)
    return [f"{timer.name} started: {reason}"]


def _stop(units: list[systemd.Unit], check_mode: bool) -> list[str]:
    """Stops them, even without their files: until told otherwise, systemd keeps them running."""
    live = [unit.name for unit in units if unit.active not in ("", "inactive", "failed")]
    failed = [unit.name for unit in units if unit.active == "failed"]
    if not check_mode:
        if live:
            systemd.systemctl("stop", *live)
        if failed:
            systemd.systemctl("reset-failed", *failed)
        if live or failed:
            systemd.systemctl("daemon-reload")
    return [f"{name} stopped" for name in live] + [f"{name} forgotten" for name in failed]
