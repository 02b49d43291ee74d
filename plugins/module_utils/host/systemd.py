# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd as the replica modules see it: state of units, verbs, last lines of their journal."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError

# On top of a unit's own limits: until systemd has noticed, and killed processes are gone.
_MARGIN_SECONDS = 15.0
_KILL_SECONDS = 30.0
_DEFAULT_LIMIT = 90.0  # DefaultTimeoutStopSec= (systemd-system.conf(5))
# The limits of a unit that hold for a verb.
_LIMITS = {
    "stop": ("TimeoutStopUSec",),
    "restart": ("TimeoutStopUSec", "TimeoutStartUSec"),
    "reload": ("TimeoutStartUSec",),
}
# How systemd prints spans of time (systemd.time(7)).
_SECONDS = {
    "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0,
}  # fmt: skip
_PROPERTIES = (
    "Id,ActiveState,SubState,UnitFileState,NeedDaemonReload,LoadState,NRestarts,"
    "ExecMainStartTimestampMonotonic,Job"
)
# The form of a tunnel token or a key in a log. Neither belongs there; make sure.
_SECRETS = re.compile(r"eyJ[A-Za-z0-9+/_=-]{16,}|-----BEGIN [A-Z ]*PRIVATE KEY-----.*")


@dataclass(frozen=True)
class Unit:
    """A unit's state, in systemd's own words (systemctl show).

    ``restarts``: how often systemd has restarted it by itself since it was last started on purpose.
    ``started``: when its main process was started last, in seconds of CLOCK_MONOTONIC.
    ``queued``: whether systemd has a job for it, as for one that waits for others at boot.
    """

    name: str
    active: str
    sub: str
    enabled: bool
    needs_reload: bool
    loaded: bool
    restarts: int
    masked: bool = False
    started: float = 0.0
    queued: bool = False

    @property
    def running(self) -> bool:
        """Whether its main process is up."""
        return self.active in ("active", "reloading")

    @property
    def alive(self) -> bool:
        """Whether it runs, starts, waits for its next start, or stops."""
        return self.active not in ("", "inactive", "failed")

    @property
    def stopped(self) -> bool:
        """Whether it neither runs nor tries to; false if it failed or is about to come back."""
        return self.loaded and self.active == "inactive"

    @property
    def down(self) -> bool:
        """Whether it does not run, and systemd is not about to start it: waiting is of no use."""
        cannot = self.masked or not self.loaded
        return not self.queued and (cannot or self.active in ("inactive", "failed"))


def show(names: list[str]) -> list[Unit]:
    """The state of the units, in the given order."""
    text = systemctl("show", f"--property={_PROPERTIES}", *names)
    units = []
    for name, block in zip(names, re.split(r"\n\n", text.strip())):
        fields = dict(line.partition("=")[::2] for line in block.splitlines())
        units.append(
            Unit(
                name=name,
                active=fields.get("ActiveState", ""),
                sub=fields.get("SubState", ""),
                enabled=fields.get("UnitFileState", "") == "enabled",
                needs_reload=fields.get("NeedDaemonReload", "") == "yes",
                loaded=fields.get("LoadState", "") == "loaded",
                restarts=int(fields.get("NRestarts") or 0),
                masked=fields.get("LoadState", "") == "masked",
                started=int(fields.get("ExecMainStartTimestampMonotonic") or 0) / 1e6,
                queued=int(fields.get("Job") or 0) > 0,
            )
        )
    return units


class Overdue(Exception):
    """systemd has not finished a job in time, and is still at it."""


def enforce(verb: str, *units: str) -> bool:
    """``systemctl stop`` or ``restart`` that ends, whatever the services say to systemd.

    A service may ask for ever more time (sd_notify(3), EXTEND_TIMEOUT_USEC=). One that has not
    ended some seconds after the limits of its unit is killed, with all of its processes. Returns
    whether that was necessary.

    :raises TunnelError: if systemd refuses.
    """
    limit = _limit(verb, units)
    try:
        systemctl(verb, *units, seconds=limit)
    except Overdue:
        for unit in units:
            if unit.endswith(".service"):
                # systemd itself ends with the job: the main process cannot refuse this signal.
                _run(["systemctl", "kill", "--signal=SIGKILL", unit], _KILL_SECONDS)
    else:
        return False
    # systemd still has to do a requested restart: this waits for it.
    again = "start" if verb == "restart" else verb
    try:
        systemctl(again, *units, seconds=limit + _KILL_SECONDS)
    except Overdue:
        raise TunnelError(
            " ".join(units),
            f"systemctl {verb} did not end, not even after SIGKILL",
            "Look at systemctl list-jobs, and for processes that wait for a disk (ps, state D)",
        ) from None
    return True


def reload(unit: str) -> str:
    """Makes *unit* reload; returns why it has not, '' if it has.

    Bounded as :func:`enforce` is, but nothing is killed: a restart helps.
    """
    try:
        systemctl("reload", unit, seconds=_limit("reload", [unit]))
    except Overdue:
        _run(["systemctl", "cancel", unit], _KILL_SECONDS)
        return "its reload did not end in time"
    return ""


def reboot(delay: str) -> None:
    """Lets systemd reboot the machine after *delay* (systemd.time(7)), and returns before.

    :raises TunnelError: if systemd refuses.
    """
    timer = [f"--on-active={delay}", "--timer-property=AccuracySec=100ms"]
    done = _run(["systemd-run", *timer, "systemctl", "reboot"])
    if done.returncode:
        raise TunnelError(
            "systemd-run", f"failed: {done.stderr.strip()}", "Look at journalctl -u init.scope"
        )


def command(unit: str) -> list[str]:
    """The words of the command that a service runs, drop-ins among its files; empty without one.

    None of them may have a blank in it.
    """
    text = systemctl("show", "--property=ExecStart", unit)
    found = re.search(r"argv\[\]=(.*?) ; ignore_errors=", text)
    return found[1].split() if found else []


def next_elapse(timer: str) -> datetime | None:
    """When a timer with OnCalendar= elapses next; None if it is not to."""
    text = systemctl("show", "--property=NextElapseUSecRealtime", timer)
    found = re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?= UTC)", text)
    if not found:
        return None
    return datetime.strptime(found[0], "%Y-%m-%d %H:%M:%S").replace(tzinfo=timezone.utc)


def ports(socket: str) -> list[int]:
    """The ports that a socket unit is to listen on (``Listen=127.0.0.1:8080 (Stream)``)."""
    text = systemctl("show", "--property=Listen", socket)
    return sorted({int(port) for port in re.findall(r":(\d+) \(Stream\)", text)})


def _limit(verb: str, units: Sequence[str]) -> float:
    """The seconds that the slowest units may take for *verb*, by their own limits."""
    text = systemctl("show", f"--property={','.join(_LIMITS[verb])}", *units)
    slowest: dict[str, float] = {}
    for name, _, span in (line.partition("=") for line in text.splitlines() if line):
        slowest[name] = max(slowest.get(name, 0.0), seconds(span))
    return sum(slowest.get(name, _DEFAULT_LIMIT) for name in _LIMITS[verb]) + _MARGIN_SECONDS


def seconds(span: str) -> float:
    """A span of time as systemctl prints it, like ``1min 35s``; ``infinity`` is the default's."""
    parts = re.findall(r"([0-9.]+)(us|ms|min|s|h|d|w)\b", span)
    if not parts:
        return _DEFAULT_LIMIT
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def systemctl(verb: str, *arguments: str, seconds: float | None = None) -> str:
    """Runs ``systemctl verb arguments`` and returns its output.

    :raises TunnelError: if it fails; for a unit, with the last lines of its journal.
    :raises Overdue: if it has not ended within *seconds*.
    """
    try:
        done = _run(["systemctl", verb, *arguments], seconds)
    except subprocess.TimeoutExpired:
        raise Overdue from None
    if done.returncode:
        unit = next((item for item in arguments if item.endswith(".service")), "")
        raise TunnelError(
            unit or "systemd",
            f"systemctl {verb} failed: {done.stderr.strip()}{quoted_journal(unit)}",
            f"Look at journalctl -u {unit or 'init.scope'}",
        )
    return done.stdout


def journal(unit: str, lines: int = 8) -> list[str]:
    """The last lines by the unit, and by systemd about it, without secrets."""
    done = _run(["journalctl", "--unit", unit, "--lines", str(lines), "--output=cat", "--no-pager"])
    return [_SECRETS.sub("[hidden]", line) for line in done.stdout.splitlines()]


def quoted_journal(unit: str) -> str:
    """The journal of *unit* as the tail of an error message, '' without unit or lines."""
    lines = journal(unit) if unit else []
    return "".join(f"\n    {line}" for line in [f"last lines of {unit}:", *lines]) if lines else ""


def _run(command: list[str], seconds: float | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
        # systemctl shows moments in this zone.
        env={**os.environ, "TZ": "UTC"},
    )
