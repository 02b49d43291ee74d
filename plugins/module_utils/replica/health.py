# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a replica works, layer by layer, in the order in which an operator debugs."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.names import route_hostname
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.text_table import aligned, span
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall import containment
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import (
    loopback,
    running_code,
    selinux_labels,
    systemd,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica import (
    cloudflared as cloudflared_health,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica import (
    routes,
    unit_credentials,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica.finding import (
    Finding,
    stranger,
)

_PAUSE_SECONDS = 0.5


@dataclass(frozen=True)
class Replica:
    """The replica to examine: units, loopback ports, the tunnel, its routes (name: upstream).

    ``required_routes``: names of those whose upstreams must answer.
    ``route_options``: the ``paths`` and ``methods`` that may be asked for, of those that say it.
    ``releases``: the directory of the release that each unit has to run, where that is known.
    ``drained``: why its cloudflared has to stay away from the edge; empty if it is in service.
    ``returning``: why it had to, if it has proven nothing since; empty if it has, or never had to.
    ``edge``: whether it is at the edge; false before its cloudflared starts for the first time.
    """

    proxy_unit: str
    cloudflared_unit: str
    listen_port: int
    admin_port: int
    metrics_port: int
    domain: str
    routes: dict[str, str]
    required_routes: Collection[str]
    ca_certificate: str
    releases: dict[str, Path] = field(default_factory=dict)
    drained: str = ""
    returning: str = ""
    edge: bool = True
    route_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def examine(replica: Replica, timeout: float) -> list[Finding]:
    """Looks at all layers, waiting *timeout* seconds in all for the replica to be ready.

    Nothing waits for the work of a service that is down. A drained replica works if all else does.
    """
    deadline = time.monotonic() + timeout
    findings, down = _services(replica, deadline)
    proxy, connector = (
        time.monotonic() if unit in down else deadline
        for unit in (replica.proxy_unit, replica.cloudflared_unit)
    )
    # Waiting enables nothing.
    findings += _at_boot(replica) + _labels(replica)
    without_token = _credential(replica)
    findings += without_token
    findings += _until(proxy, lambda: _proxy(replica))
    # Without its token, cloudflared says nothing of the edge. Drained, it is not there.
    is_away = replica.drained or (replica.returning and replica.cloudflared_unit in down)
    if replica.edge and not (without_token or is_away):
        findings += _until(connector, lambda: _connector(replica))
    for name in replica.routes:
        # Nobody waits for an upstream that may be down.
        until = proxy if name in replica.required_routes else time.monotonic()
        findings += _until(until, partial(route, replica, name))
    return findings


def route(replica: Replica, name: str) -> list[Finding]:
    """The rows of the route *name*, asked once. One that is not required may be down."""
    hostname = route_hostname(name, replica.domain)
    wanted = routes.wanted(replica.route_options.get(name, {}))
    asked = routes.Route(name, hostname, replica.routes[name], wanted)
    found = routes.look(asked, replica.listen_port, replica.proxy_unit, replica.ca_certificate)
    required = name in replica.required_routes
    return [replace(item, required=required) if item.layer == "route" else item for item in found]


def table(findings: list[Finding]) -> list[str]:
    """The findings as lines of aligned columns."""
    rows: list[tuple[str, ...]] = [("layer", "object", "state", "detail")]
    rows += [(item.layer, item.object, item.state, item.detail) for item in findings]
    return aligned(rows)


def failure(findings: list[Finding]) -> str:
    """The error message about failures: layer, what to look at, last lines of the journal."""
    failed = [item for item in findings if not item.ok and item.required]
    lines = [f"{item.layer}: {item.object}: {item.detail}. {item.remedy}." for item in failed]
    units = dict.fromkeys(item.unit for item in failed if item.unit)
    return "\n".join(lines) + "".join(systemd.quoted_journal(unit) for unit in units)


def result(findings: list[Finding]) -> dict[str, Any]:
    """The module's result."""
    return {
        "changed": False,
        "healthy": all(item.ok or not item.required for item in findings),
        "findings": [asdict(item) for item in findings],
        "table": table(findings),
    }


def _until(deadline: float, look: Callable[[], list[Finding]]) -> list[Finding]:
    """The first findings that are all fine, or the last ones before the deadline."""
    while True:
        findings = look()
        if all(item.ok for item in findings) or time.monotonic() >= deadline:
            return findings
        time.sleep(_PAUSE_SECONDS)


def _services(replica: Replica, deadline: float) -> tuple[list[Finding], set[str]]:
    """The rows of the services, once those that are starting run; and the units that are down."""
    while True:
        units = systemd.show([replica.proxy_unit, replica.cloudflared_unit])
        findings = [_row(replica, unit) for unit in units]
        down = {unit.name for unit in units if unit.down}
        done = all(item.ok or item.object in down for item in findings)
        if done or time.monotonic() >= deadline:
            return findings, down
        time.sleep(_PAUSE_SECONDS)


def _row(replica: Replica, unit: systemd.Unit) -> Finding:
    if replica.drained and unit.name == replica.cloudflared_unit and unit.loaded:
        return _away(unit, replica.drained)
    if replica.returning and unit.name == replica.cloudflared_unit and unit.loaded and unit.down:
        return _interrupted(unit)
    if not replica.edge and unit.name == replica.cloudflared_unit and unit.loaded:
        return Finding("service", unit.name, True, "joins the edge once all else works")
    return service(unit, replica.releases.get(unit.name))


def _away(unit: systemd.Unit, why: str) -> Finding:
    """The row of a cloudflared that has to stay away from the edge."""
    if unit.alive:
        return Finding(
            "service",
            unit.name,
            False,
            f"{_state(unit)}, although {why}",
            "Run the playbook drain or site, which stops it, or undrain, which ends the drain",
            unit.name,
            purpose="drained",
        )
    return Finding("service", unit.name, True, why, "", unit.name, purpose="drained")


def _interrupted(unit: systemd.Unit) -> Finding:
    """The row of a cloudflared that a run was about to start."""
    return Finding(
        "service",
        unit.name,
        False,
        f"{_state(unit)}, although its drain was ended: undrain was interrupted",
        "Run the playbook undrain, which completes that",
        unit.name,
        purpose="drained",
    )


def _at_boot(replica: Replica) -> list[Finding]:
    """The services that would not come back after a reboot; empty if all would."""
    return [
        Finding(
            "service",
            unit.name,
            False,
            "disabled: does not start at boot",
            "Run the site playbook, which enables it",
            unit.name,
        )
        for unit in systemd.show([replica.proxy_unit, replica.cloudflared_unit])
        if unit.loaded and not unit.enabled
        # It joins the edge, and is enabled, later in the run.
        if replica.edge or unit.name != replica.cloudflared_unit
    ]


def _credential(replica: Replica) -> list[Finding]:
    """Why cloudflared has no tunnel token; empty if it has one."""
    problem = unit_credentials.problem(replica.cloudflared_unit)
    if problem is None:
        return []
    detail = f"{problem.subject} {problem.problem}"
    unit = replica.cloudflared_unit
    return [Finding("service", unit, False, detail, problem.remedy, unit)]


def _labels(replica: Replica) -> list[Finding]:
    """Releases that SELinux would not start as services; empty if it would, or is disabled."""
    rows = [_label(unit, release) for unit, release in replica.releases.items()]
    return [row for row in rows if row is not None]


def _label(unit: str, release: Path) -> Finding | None:
    """The row about one release, even if its labels cannot be read: other releases still follow."""
    try:
        wrong = selinux_labels.wrong(release)
    except TunnelError as error:
        return Finding("service", str(release), False, error.problem, error.remedy, unit)
    if not wrong:
        return None
    return Finding(
        "service",
        str(release),
        False,
        f"SELinux: {len(wrong)} files have other labels than the policy's, {wrong[0]} first",
        f"Run the site playbook, which sets them, and then systemctl restart {unit}",
        unit,
    )


def service(unit: systemd.Unit, release: Path | None) -> Finding:
    """The row of a service; *release* is the directory of what it has to run, if that is known."""
    if unit.masked:
        detail, remedy = _why_masked(unit)
        return Finding("service", unit.name, False, detail, remedy, unit.name)
    detail = _state(unit) if unit.loaded else "not installed"
    remedy = f"Look at journalctl -u {unit.name}" if unit.loaded else "Run the site playbook"
    if unit.stopped:
        remedy = (
            f"Run systemctl start {unit.name}, or the site playbook. If it does not start, or "
            f"nobody has stopped it, look at journalctl -u {unit.name}"
        )
    if unit.running and release is not None:
        strange = running_code.problem(unit.name, release)
        if strange:
            remedy = (
                f"Run the site playbook, or systemctl restart {unit.name}; if nobody has changed "
                "it, the service may have been taken over"
            )
            return Finding("service", unit.name, False, strange, remedy, unit.name)
    return Finding("service", unit.name, unit.running, detail, remedy, unit.name)


def _why_masked(unit: systemd.Unit) -> tuple[str, str]:
    """Detail and remedy of a unit that is masked. A host that was taken out is not mended here."""
    if containment.is_there():
        detail = "masked: the host was taken out as broken into"
        return (
            detail,
            "Leave it so, and install the host anew; see docs/breach.md of the collection",
        )
    return "masked", f"Run systemctl unmask {unit.name} on the host, and then the site playbook"


def _state(unit: systemd.Unit) -> str:
    """The unit's state in systemd's words. One that dies and comes back always seems to run."""
    text = f"{unit.active} ({unit.sub})"
    if not unit.restarts:
        return text
    times = "once" if unit.restarts == 1 else f"{unit.restarts} times"
    since = span(time.monotonic() - unit.started)
    return f"{text}, restarted {times} by systemd, started {since} ago"


def _proxy(replica: Replica) -> list[Finding]:
    port, unit = replica.admin_port, replica.proxy_unit
    url = f"http://127.0.0.1:{port}/readyz"
    try:
        status, body = loopback.get(port, "/readyz", unit)
    except loopback.Stranger as found:
        return [stranger("proxy", url, found, unit, "proxy_admin_port")]
    remedy = f"Look at journalctl -u {unit}"
    return [Finding("proxy", url, status == 200, body.strip()[:200], remedy, unit)]


def _connector(replica: Replica) -> list[Finding]:
    return cloudflared_health.connector(
        replica.cloudflared_unit, replica.metrics_port, replica.listen_port
    )
