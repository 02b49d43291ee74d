# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A drained replica: its cloudflared has left the edge, and stays away until somebody ends that.

The state is a file, the mark. The unit has it as a condition (ConditionPathExists= in
systemd.unit(5)), so it outlives the run, a deployment, a renewal and a reboot. The file's existence
counts; its content says since when, by whom and why.

A replica that comes back has to prove itself at the edge. Until then the mark lies beside its
place, under another name: so the next run completes an interrupted one, and a replica that does not
work gets the same mark again.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import secret_files
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.instances import check_instance
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import systemd
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica.services import enforce

DIRECTORY = Path("/etc/mcp-tunnel")
#: By whom a replica was drained: an operator, or a reboot, whose next run also ends it.
PURPOSES = ("drain", "reboot")
_NAME = "drained"
_RETURNING = "returning"
_MODE = 0o644  # for the services and the timer that counts connections: it is no secret
_LONGEST = 256  # characters of a text in the mark
_MOST = 16 * 1024  # bytes of the mark: JSON needs up to 12 for a character


@dataclass(frozen=True)
class Drain:
    """That a replica is drained.

    ``since`` is a time in UTC (RFC 3339), ``by`` and ``why`` are lines for people, ``purpose`` is
    one of :data:`PURPOSES`.
    """

    since: str
    by: str = ""
    why: str = ""
    purpose: str = PURPOSES[0]

    def __str__(self) -> str:
        by = f" by {self.by}" if self.by else ""
        why = f": {self.why}" if self.why else ""
        return f"drained since {self.since}{by}{why}"


class Mark:
    """The mark of one instance on this host."""

    def __init__(self, instance: str, directory: Path = DIRECTORY) -> None:
        self.instance = check_instance(instance)
        self.unit = f"mcp-cloudflared@{instance}.service"
        self.path = str(directory / instance / _NAME)
        self._returning = str(directory / instance / _RETURNING)

    def read(self) -> Drain | None:
        """The drain; ``None`` if the replica is in service.

        A mark that somebody has made by hand counts as well: the unit looks at nothing else.
        """
        return _read(self.path)

    def returning(self) -> Drain | None:
        """The drain that was ended, while the replica has proven nothing since; else ``None``."""
        return None if self.read() else _read(self._returning)

    def write(self, drain: Drain) -> None:
        """Marks the replica as drained, for everybody to read."""
        attributes = secret_files.Attributes(os.geteuid(), os.getegid(), _MODE)
        secret_files.write_file(self.path, json.dumps(asdict(drain)).encode() + b"\n", attributes)
        self.settle()

    def lift(self) -> None:
        """Ends the drain, until :meth:`put_back` or :meth:`settle`."""
        secret_files.rename(self.path, self._returning)

    def put_back(self) -> None:
        """Marks the replica again, as it was marked before :meth:`lift`."""
        secret_files.rename(self._returning, self.path)

    def settle(self) -> None:
        """Forgets a drain that was ended: the replica works at the edge, or has a new mark."""
        secret_files.remove_file(self._returning)


def away(mark: Mark) -> dict[str, str]:
    """The unit that has to stay away from the edge, with the reason; empty if none has to."""
    found = mark.read()
    return {mark.unit: str(found)} if found else {}


def drain(mark: Mark, wanted: Drain, check_mode: bool) -> dict[str, Any]:
    """Takes the replica away from the edge; returns the module's result.

    The mark comes first: a run that is killed in between leaves a service that the next run stops.

    :raises TunnelError: if the replica is not deployed, or with a unit that does not know the mark.
    """
    (unit,) = systemd.show([mark.unit])
    _check_unit(mark, unit)
    before = mark.read()
    # An operator's drain outlasts a reboot, and is not replaced by a later one.
    is_new = before is None or (before.purpose, wanted.purpose) == PURPOSES[::-1]
    actions = [f"{mark.path} written"] if is_new else []
    actions += [f"{mark.unit} stopped"] if unit.alive else []
    if not check_mode:
        if is_new:
            mark.write(wanted)
        if unit.alive:
            actions += enforce("stop", mark.unit)
    return _result(actions, wanted if is_new else before)


def undrain(mark: Mark, check_mode: bool, purpose: str = "") -> dict[str, Any]:
    """Brings the replica back to the edge; returns the module's result.

    One that nobody has drained stays as it is, also if it does not run. One whose drain an earlier
    run has ended, without a proof, is started if it does not run.

    :param purpose: end only a drain of this purpose; empty for any.
    :raises TunnelError: if the replica is not deployed, or cloudflared does not start.
    """
    (unit,) = systemd.show([mark.unit])
    _check_unit(mark, unit)
    marked = mark.read()
    before = marked or mark.returning()
    if before is None or purpose not in ("", before.purpose):
        return _result([], marked)
    actions = [f"{mark.path} removed"] if marked else []
    actions += [] if unit.running else [f"{mark.unit} started"]
    if not check_mode:
        if marked:
            mark.lift()
        if not unit.running:
            _start(unit)
    return {**_result(actions), "ended": True}


def restore(mark: Mark, check_mode: bool) -> dict[str, Any]:
    """Drains again a replica that has proven nothing since its drain ended, by the same mark.

    Any other stays as it is. Returns the module's result.

    :raises TunnelError: if the replica is not deployed, or with a unit that does not know the mark.
    """
    (unit,) = systemd.show([mark.unit])
    _check_unit(mark, unit)
    found = mark.returning()
    if found is None:
        return _result([], mark.read())
    actions = [f"{mark.path} put back"]
    actions += [f"{mark.unit} stopped"] if unit.alive else []
    if not check_mode:
        mark.put_back()
        if unit.alive:
            actions += enforce("stop", mark.unit)
    return _result(actions, found)


def _result(actions: list[str], drained: Drain | None = None) -> dict[str, Any]:
    found = asdict(drained) if drained else {}
    return {"changed": bool(actions), "actions": actions, "drained": found, "ended": False}


def _start(unit: systemd.Unit) -> None:
    if unit.active == "failed":
        systemd.systemctl("reset-failed", unit.name)
    systemd.systemctl("start", unit.name)


def _check_unit(mark: Mark, unit: systemd.Unit) -> None:
    if not unit.loaded:
        raise TunnelError(
            unit.name,
            f"is not there: instance {mark.instance} was not deployed on this host",
            "Run the site playbook",
        )
    # A unit that an earlier release of the collection has written starts in spite of the mark.
    if f"ConditionPathExists=!{mark.path}" not in _expanded(mark):
        raise TunnelError(
            unit.name,
            "does not know of drained replicas: it was written by an earlier release",
            "Run the site playbook, which renews it. Nothing was changed",
        )


def _expanded(mark: Mark) -> str:
    """The unit's files with the instance in the place of its specifier (systemd.unit(5))."""
    return systemd.systemctl("cat", mark.unit).replace("%i", mark.instance)


def _read(path: str) -> Drain | None:
    """The drain of a mark; ``None`` if there is no mark."""
    # As systemd does, which follows links.
    if not os.path.exists(path):
        return None
    made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(os.stat(path).st_mtime))
    return _parsed(_content(path)) or Drain(made)


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_MOST)
    except OSError:
        return b""


def _parsed(content: bytes) -> Drain | None:
    """The drain in the mark's content; ``None`` if the content is anything else."""
    try:
        found = json.loads(content)
        drain = Drain(**{name: str(found[name])[:_LONGEST] for name in asdict(Drain(""))})
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return drain if drain.purpose in PURPOSES else None
