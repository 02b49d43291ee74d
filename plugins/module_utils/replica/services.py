# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A replica's services, and how they are restarted, reloaded and stopped.

Order matters: later services depend on earlier ones, and a socket outlives its service.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import running_code, systemd
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host.listeners import find_listener
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica.releases import Releases


@dataclass(frozen=True)
class Service:
    """A service of the replica, started in the order of the list, stopped in the reverse order.

    ``files``: what it reads at start. ``live_files``: what it reads again by itself.
    ``reload_files``: those of ``files`` that it reads again on ``systemctl reload``; a service that
    has some also goes over to another release then, unless ``takeover`` is false: then it is
    restarted, so that nothing of the one before is trusted.
    ``socket``: the unit whose sockets it is given; while that is up, clients wait for a service
    that restarts. ``socket_files``: those of ``files`` that make that unit.
    """

    unit: str
    part: str
    version: str
    files: tuple[str, ...]
    live_files: tuple[str, ...] = ()
    reload_files: tuple[str, ...] = ()
    socket: str = ""
    socket_files: tuple[str, ...] = ()
    takeover: bool = True


def reload(services: list[Service], root: Path) -> list[str]:
    """Reloads the services; returns which of them had to be restarted, and why.

    The takeover by another release is not taken on trust, but checked from outside.
    """
    actions = []
    for service in services:
        unit = service.unit
        release = Releases(service.part, root).path(service.version)
        problem = systemd.reload(unit) or running_code.problem(unit, release)
        if problem:
            actions.append(f"{unit} restarted: {problem}")
            actions += enforce("restart", unit)
    return actions


def enforce(verb: str, *units: str) -> list[str]:
    """Stops or restarts the units; says so if they had to be killed."""
    killed = systemd.enforce(verb, *units)
    return [f"{unit} killed: it did not end in time" for unit in units if killed]


def restart(services: list[Service], new_sockets: set[str]) -> list[str]:
    """Restarts the services, and of their sockets those in *new_sockets*.

    Returns what had to be killed.
    """
    killed: list[str] = []
    units = [service.unit for service in services]
    states = systemd.show(units)
    dependents = [state.name for state in states[1:] if state.running]
    if dependents:
        killed += enforce("stop", *reversed(dependents))
    # systemd does not start a unit that failed too often before its failures are reset.
    failed = [state.name for state in states if state.active == "failed"]
    if failed:
        systemd.systemctl("reset-failed", *failed)
    for service in services:
        if service.socket and service.socket in new_sockets:
            killed += _restart_socket(service)
        killed += enforce("restart", service.unit)
    return killed


def _restart_socket(service: Service) -> list[str]:
    """Restarts the socket while its service is down: with the port in use, systemd refuses."""
    (socket,) = systemd.show([service.socket])
    if socket.active not in ("", "inactive", "failed"):
        systemd.systemctl("stop", service.socket)
    killed = enforce("stop", service.unit)
    # The release that was good before may have had no socket.
    if socket.loaded:
        try:
            systemd.systemctl("start", service.socket)
        except TunnelError as error:
            raise _squatted(service.socket, error) from None
    return killed


def _squatted(socket: str, error: TunnelError) -> TunnelError:
    """The error for a socket that could not be opened, with the process that has its port."""
    found = {port: find_listener(port) for port in systemd.ports(socket)}
    held = [f"port {port} is held by {holder}" for port, holder in found.items() if holder]
    if not held:
        return error
    remedy = "End that program and run the playbook again, or give the port's variable another one"
    return TunnelError(socket, " and ".join(held), remedy)
