# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a run for programs: workflows, approvals and notifications of AWX and Tower.

It is a custom statistic of the run, as ``set_stats`` makes one. AWX keeps it as an artifact, and
gives it to later jobs of a workflow as an extra variable, which no run reads. It is begun by the
preflight, and replaced by what is known later: a run that Ansible ends early has said what it knew.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

NAME = "mcp_tunnel_report"
DONE, STOPPED, UNFINISHED = "done", "stopped", "unfinished"
LARGEST = 512 * 1024
"""Characters of a report as JSON. AWX keeps 1 MB of artifacts for a job."""
_NAMED = 10
"""Hosts that are named in a list of a report that is too large."""
_CUT_LINES = 2
"""Reasons that are given for a tunnel in a report that is too large."""

Report = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Tunnel:
    """One tunnel at the end of a run; hosts are names of the inventory.

    :param status: :data:`DONE`, :data:`STOPPED` or, where the run says no more, :data:`UNFINISHED`.
    :param why: the reasons why it has stopped.
    :param healthy: the replicas that this run has proven; *unhealthy*, those that it has looked at
        and that do not work; *removed*, those that it has taken down.
    :param drained: those that are away from the edge on purpose.
    :param unproven: the replicas of which it says none of these.
    :param left_out: those that could not be reached and were not needed.
    :param missing: those that the state host remembers and the inventory does not show.
    :param ca: ``fingerprint``, ``certificate`` (PEM) and ``registration``; see :func:`ca`.
    """

    status: str = UNFINISHED
    why: Sequence[str] = ()
    mode: str = ""
    domain: str = ""
    tunnel_id: str = ""
    state_host: str = ""
    healthy: Sequence[str] = ()
    unhealthy: Sequence[str] = ()
    unproven: Sequence[str] = ()
    removed: Sequence[str] = ()
    drained: Sequence[str] = ()
    left_out: Sequence[str] = ()
    missing: Sequence[str] = ()
    ca: Mapping[str, str] = dataclasses.field(default_factory=dict)


def ca(mode: str, found: Mapping[str, Any], fingerprint: str) -> dict[str, str]:
    """The CA of a tunnel, and whether it has to be registered on the tunnel.

    Its ``registration`` is ``to do`` if this run has made or changed the CA and a person has to
    register it, ``done`` if the API has it, and otherwise ``unknown``: in mode manual, only the
    Console knows.

    :param found: the result of ``tunnel_ca``; empty if the run has not looked at the CA.
    :param fingerprint: that of the CA which a replica trusts; empty if it is unknown.
    """
    if mode == "manual":
        registration = "to do" if found.get("changed") else "unknown"
    else:
        registration = "done" if found.get("certificate_id") else "unknown"
    return {
        "fingerprint": str(found.get("fingerprint") or fingerprint),
        "certificate": str(found.get("certificate", "")) if mode == "manual" else "",
        "registration": registration,
    }


def make(duty: str, check_mode: bool, tunnels: Mapping[str, Tunnel]) -> Report:
    """The whole report.

    :param duty: that of the plan: the playbook.
    :param tunnels: instance to its tunnel.
    """
    states = {tunnel.status for tunnel in tunnels.values()}
    status = next((each for each in (STOPPED, UNFINISHED) if each in states), DONE)
    return {
        "duty": duty,
        "check_mode": check_mode,
        "status": status,
        "tunnels": {instance: dataclasses.asdict(each) for instance, each in tunnels.items()},
        "cut": [],
    }


def stopped(instance: str, why: str) -> Report:
    """The part of a report about a tunnel that stops before anything was changed."""
    return {"status": STOPPED, "tunnels": {instance: {"status": STOPPED, "why": [why]}}}


def statistics(report: Report, part: bool = False) -> dict[str, Any]:
    """The entry of a task's result with which Ansible takes the report.

    :param part: whether it goes into the report that is there. Else it replaces that.
    """
    # As plain data: texts of hosts and inventories have marks of Ansible's own.
    data = json.loads(json.dumps(report if part else bounded(report)))
    return {"ansible_stats": {"data": {NAME: data}, "per_host": False, "aggregate": part}}


def bounded(report: Report, largest: int = LARGEST) -> Report:
    """The report without what makes it larger than *largest*; ``cut`` names what was left out."""
    steps: tuple[tuple[str, Callable[[dict[str, Any]], dict[str, Any]]], ...] = (
        ("certificates", _without_certificate),
        ("names", _with_few_names),
    )
    for name, step in steps:
        if _size(report) <= largest:
            return report
        tunnels = {instance: step(each) for instance, each in report["tunnels"].items()}
        report = {**report, "tunnels": tunnels, "cut": [*report["cut"], name]}
    if _size(report) <= largest:
        return report
    report = {**report, "cut": [*report["cut"], "tunnels"]}
    return {**report, "tunnels": _as_many_as_fit(report, largest)}


def _as_many_as_fit(report: Report, largest: int) -> dict[str, Any]:
    """The tunnels that have a place, those first that are not done."""
    room = largest - _size({**report, "tunnels": {}})
    kept = {}
    for instance, tunnel in sorted(
        report["tunnels"].items(), key=lambda item: item[1]["status"] == DONE
    ):
        room -= _size({instance: tunnel}) + 2
        if room < 0:
            break
        kept[instance] = tunnel
    return kept


def _without_certificate(tunnel: dict[str, Any]) -> dict[str, Any]:
    return {**tunnel, "ca": {**tunnel["ca"], "certificate": ""}}


def _with_few_names(tunnel: dict[str, Any]) -> dict[str, Any]:
    short = {
        key: value[:_NAMED] for key, value in tunnel.items() if isinstance(value, (list, tuple))
    }
    return {**tunnel, **short, "why": tunnel["why"][:_CUT_LINES]}


def _size(value: Any) -> int:
    return len(json.dumps(value))
