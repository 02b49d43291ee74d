# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A replica's deployed state: what its services run with, and what was last proven to work.

The files that a service reads at start are not enough to know whether it must be restarted: a
run may
have been killed between writing them and restarting. So what was applied is recorded after the
restart, and what passed the health gate is recorded separately, with the contents, to be put back.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import secret_files
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import (
    running_code,
    systemd,
    unit_secrets,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica.records import (
    Records,
    file_state,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica.releases import (
    ROOT,
    Releases,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica.services import (
    Service,
    enforce,
    reload,
    restart,
)


def apply(
    services: list[Service],
    records: Records,
    check_mode: bool,
    pending_paths: frozenset[str] = frozenset(),
    root: Path = ROOT,
    away: Mapping[str, str] = MappingProxyType({}),
    unproven: Collection[str] = (),
) -> dict[str, Any]:
    """Makes the services run with the wanted releases and files; returns the module's result.

    In check mode *pending_paths* are files that an earlier task would have changed. Units that are
    *away* do not run, for the given reason: a service of a drained replica. Those of them that are
    *unproven* are not enabled: a reboot would start them.

    :raises TunnelError: if systemd refuses; then nothing is recorded and the next run tries again.
    """
    # First, as a converted file restarts its service like one that was written.
    converted = unit_secrets.fit(_files(services), check_mode)
    if not check_mode:
        unit_secrets.drop_former(_files(services))
    applied = records.load("applied")
    wanted = {service.unit: _observe(service, root) for service in services}
    names = [*wanted, *(service.socket for service in services if service.socket)]
    units = dict(zip(names, systemd.show(names)))
    reasons = {}
    reloads = {}
    for service in services:
        unit = service.unit
        before = applied.get(unit)
        why = _reasons(wanted[unit], before, units[unit])
        if before and not why:
            why = unit_secrets.stale_key(unit, service.files) or _strange_code(
                service, before, root
            )
        changed = _changed(wanted[unit], before) if before else []
        if service.socket and not why and not units[service.socket].running:
            why = [f"{service.socket} was {units[service.socket].active or 'not there'}"]
        if check_mode:
            changed += sorted(pending_paths.intersection(service.files) - set(changed))
        verb = "would change" if check_mode else "changed"
        other = _other_release(wanted[unit], before)
        if other and service.reload_files and not service.takeover:
            why = [*why, "it is not to take over"]
        told = other + [f"{path} {verb}" for path in changed]
        alive = (
            told and not why and service.reload_files and set(changed) <= set(service.reload_files)
        )
        reasons[unit] = [] if alive or unit in away else why + told
        reloads[unit] = told if alive and unit not in away else []
    actions = [*converted.values()]
    for service in services:
        releases = Releases(service.part, root)
        if releases.current() != service.version:
            actions.append(f"{service.part} {service.version} activated")
            if not check_mode:
                releases.activate(service.version)
    disabled = [unit for unit in wanted if not (units[unit].enabled or unit in unproven)]
    actions += [f"{unit} enabled" for unit in disabled]
    # The drain was interrupted, or somebody has started it by hand.
    unwanted = [unit for unit in away if unit in wanted and units[unit].alive]
    actions += [f"{unit} stopped: {away[unit]}" for unit in unwanted]
    actions += [f"{unit} started: {', '.join(why)}" for unit, why in reasons.items() if why]
    actions += [f"{unit} reloaded: {', '.join(why)}" for unit, why in reloads.items() if why]
    if not check_mode:
        for unit in unwanted:
            actions += enforce("stop", unit)
        actions += _start_services(services, disabled, reasons, units, applied, wanted, away)
        actions += reload([service for service in services if reloads[service.unit]], root)
        if wanted != applied:
            _record(records, wanted)
    return {
        "changed": bool(actions),
        "actions": actions,
        "proven": wanted == records.load("good"),
    }


def remember(services: list[Service], records: Records, root: Path = ROOT) -> dict[str, Any]:
    """Remembers the applied state as good, and removes releases that nothing needs any more."""
    records.store("good", records.load("applied"))
    removed = []
    for part in sorted({service.part for service in services}):
        pruned = Releases(part, root).prune(records.versions_on_this_machine(part))
        removed += [f"{part} {version}" for version in pruned]
    records.forget_contents()
    return {"changed": False, "removed_releases": removed}


def restore(
    services: list[Service],
    records: Records,
    check_mode: bool,
    kept_paths: frozenset[str] = frozenset(),
    root: Path = ROOT,
    away: Collection[str] = (),
    leaves_edge: bool = False,
) -> dict[str, Any]:
    """Puts back the state that was last proven good: files, releases, running services.

    *kept_paths* are files that stay as they are: their earlier content is no longer good. Units
    that are *away* are not started: those of a drained replica.

    One that was never good stays as it is. With *leaves_edge*, its connector is stopped, so that
    others answer its requests.
    """
    good = records.load("good")
    if not good:
        connectors = [service.unit for service in services if service.part == "cloudflared"]
        actions = _end(connectors, check_mode) if leaves_edge else []
        return {"changed": bool(actions), "restored": False, "actions": actions}
    actions = []
    others = {
        path: file
        for service in services
        for path, file in good.get(service.unit, {"files": {}})["files"].items()
        if path not in kept_paths and file_state(path) != file
    }
    pending = {p: records.content(file["digest"]) if file else None for p, file in others.items()}
    if not check_mode:
        unit_secrets.keep_former(_files(services), pending)
    for service in services:
        state = good.get(service.unit)
        if state is None:
            continue
        for path in filter(others.__contains__, state["files"]):
            actions.append(f"{path} put back")
            if not check_mode:
                _put_back(path, others[path], records)
        releases = Releases(service.part, root)
        if releases.current() != state["version"]:
            actions.append(f"{service.part} {state['version']} activated")
            if not check_mode:
                releases.activate(state["version"])
    # A file that was kept, or renewed meanwhile, may not be in the form of the earlier units.
    converted = unit_secrets.fit(_files(services), check_mode, pending)
    actions += converted.values()
    if not check_mode:
        unit_secrets.drop_former(_files(services))
    if (actions or records.load("applied") != good) and not check_mode:
        systemd.systemctl("daemon-reload")
        known = [service for service in services if service.unit in good]
        present = [service for service in known if service.unit not in away]
        actions += restart(present, {service.socket for service in present})
        records.store("applied", good)
        # The same secret in another form. One that was kept is another one, and not proven yet.
        records.take_for_good([path for path in converted if path not in kept_paths])
    return {"changed": bool(actions), "restored": True, "actions": actions}


def renew(services: list[Service], records: Records, check_mode: bool) -> dict[str, Any]:
    """Remembers as good the live files that replaced their equals: new certificates, say."""
    good = records.load("good")
    proven = all(
        good.get(service.unit, {}).get("files", {}).get(path) == file_state(path)
        for service in services
        for path in service.live_files
    )
    if not check_mode:
        records.take_for_good([path for service in services for path in service.live_files])
    return {"changed": False, "proven": proven}


def remove(
    services: list[Service], records: Records, check_mode: bool, keeps_records: bool = False
) -> dict[str, Any]:
    """Stops the services for good, and forgets what they ran with. Their files stay.

    :param keeps_records: whether to remember it, for somebody who looks at the host later.
    """
    # The sockets first: a socket would start its service again.
    both = [name for service in reversed(services) for name in (service.socket, service.unit)]
    actions = _end([name for name in both if name], check_mode)
    # Last, so that the next run completes an interrupted one.
    if not keeps_records and records.remove(check_mode):
        actions.append("records removed")
    return {"changed": bool(actions), "actions": actions, "alone": records.is_alone()}


def _end(names: list[str], check_mode: bool) -> list[str]:
    """Stops units in this order, so that no boot starts them again; returns what was done."""
    units = systemd.show(names)
    running = [unit.name for unit in units if unit.running or unit.active == "activating"]
    enabled = [unit.name for unit in units if unit.enabled]
    killed: list[str] = []
    if not check_mode:
        for unit in running:
            killed += enforce("stop", unit)
        if enabled:
            systemd.systemctl("disable", "--quiet", *enabled)
        # Also one that failed by being stopped: killed, say.
        failed = [unit.name for unit in systemd.show(names) if unit.active == "failed"]
        if failed:
            systemd.systemctl("reset-failed", *failed)
    told = [f"{unit} stopped" for unit in running] + [f"{unit} disabled" for unit in enabled]
    return told + killed


def _files(services: list[Service]) -> list[str]:
    return [path for service in services for path in (*service.files, *service.live_files)]


def _observe(service: Service, root: Path) -> dict[str, Any]:
    """The state with which the service would run if it started once its release is active."""
    binary = Releases(service.part, root).path(service.version) / "bin"
    return {
        "part": service.part,
        "version": service.version,
        # A package manager replaces a binary behind the link of its release.
        "binaries": {path.name: _identity(path) for path in sorted(binary.glob("*"))},
        "files": {path: file_state(path) for path in (*service.files, *service.live_files)},
        "live": sorted(service.live_files),
    }


def _identity(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _reasons(
    wanted: dict[str, Any], applied: dict[str, Any] | None, unit: systemd.Unit
) -> list[str]:
    """Why the service has to be (re)started; empty if it need not be."""
    if not unit.running:
        return [f"it was {unit.active or 'not there'}"]
    if applied is None:
        return ["nothing is known about how it was started"]
    reasons = [f"{path} is gone" for path in applied["files"] if path not in wanted["files"]]
    if unit.needs_reload and not reasons and not _changed(wanted, applied):
        reasons.append("its unit changed")
    return reasons


def _other_release(wanted: dict[str, Any], applied: dict[str, Any] | None) -> list[str]:
    if applied is None or (
        wanted["version"] == applied["version"] and wanted["binaries"] == applied["binaries"]
    ):
        return []
    return [f"release {applied['version']} became {wanted['version']}"]


def _strange_code(service: Service, applied: dict[str, Any], root: Path) -> list[str]:
    """Why the running code is neither the recorded release nor the wanted one."""
    releases = Releases(service.part, root)
    problem = ""
    for version in dict.fromkeys((service.version, applied["version"])):
        problem = running_code.problem(service.unit, releases.path(version))
        if not problem:
            return []
    return [problem]


def _changed(wanted: dict[str, Any], applied: dict[str, Any]) -> list[str]:
    """The files whose content differs from what the service runs with."""
    live = set(wanted["live"])
    return [
        path
        for path, state in wanted["files"].items()
        if path not in live
        and (state or {}).get("digest") != (applied["files"].get(path) or {}).get("digest")
    ]


def _start_services(
    services: list[Service],
    disabled: list[str],
    reasons: dict[str, list[str]],
    units: dict[str, systemd.Unit],
    applied: dict[str, Any],
    wanted: dict[str, Any],
    away: Collection[str],
) -> list[str]:
    """Starts the services that have a reason; returns what had to be killed for it."""
    changed = any(why for why in reasons.values())
    if changed or any(unit.needs_reload for unit in units.values()):
        systemd.systemctl("daemon-reload")
    if disabled:
        systemd.systemctl("enable", "--quiet", *disabled)
    new_sockets = {
        service.socket
        for service in services
        if service.socket
        and (
            not units[service.socket].running
            or service.unit not in applied
            or set(service.socket_files)
            & set(_changed(wanted[service.unit], applied[service.unit]))
        )
    }
    first = next((index for index, service in enumerate(services) if reasons[service.unit]), None)
    killed: list[str] = []
    if first is None:
        return killed
    if services[first].socket and services[first].socket not in new_sockets:
        # Its clients wait at the socket, so those after it can stay as they are.
        killed += restart([services[first]], set())
        first = next(
            (i for i, service in enumerate(services) if i > first and reasons[service.unit]), None
        )
    if first is not None:
        # Later services depend on earlier ones: cloudflared without its proxy would answer 502
        # to requests that another replica could serve, so it leaves the edge first.
        later = [service for service in services[first:] if service.unit not in away]
        killed += restart(later, new_sockets)
    return killed


def _record(records: Records, wanted: dict[str, Any]) -> None:
    for service in wanted.values():
        for path, file in service["files"].items():
            if file:
                records.keep(file["digest"], secret_files.read_file(path) or b"")
    records.store("applied", wanted)
    records.forget_contents()


def _put_back(path: str, file: dict[str, Any] | None, records: Records) -> None:
    if file is None:
        secret_files.remove_file(path)
        return
    attributes = secret_files.Attributes(file["owner"], file["group"], file["mode"])
    os.makedirs(os.path.dirname(path), exist_ok=True)
    secret_files.write_file(path, records.content(file["digest"]), attributes)
