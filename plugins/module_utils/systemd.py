# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd as the replica modules see it: state of units, verbs, last lines of their journal."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.errors import TunnelError

_PROPERTIES = "Id,ActiveState,SubState,UnitFileState,NeedDaemonReload,LoadState,NRestarts"
# What a tunnel token or a key would look like in a log. Neither belongs there; make sure.
_SECRETS = re.compile(r"eyJ[A-Za-z0-9+/_=-]{16,}|-----BEGIN [A-Z ]*PRIVATE KEY-----.*")


@dataclass(frozen=True)
class Unit:
    """A unit's state, in systemd's own words (systemctl show)."""

    name: str
    active: str
    sub: str
    enabled: bool
    needs_reload: bool
    loaded: bool
    restarts: int

    @property
    def running(self) -> bool:
        """Whether its main process is up."""
        return self.active in ("active", "reloading")


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
            )
        )
    return units


def systemctl(verb: str, *arguments: str) -> str:
    """Runs ``systemctl verb arguments`` and returns its output.

    :raises TunnelError: if it fails; for a unit, with the last lines of its journal.
    """
    done = _run(["systemctl", verb, *arguments])
    if done.returncode:
        unit = next((item for item in arguments if item.endswith(".service")), "")
        raise TunnelError(
            unit or "systemd",
            f"systemctl {verb} failed: {done.stderr.strip()}{quoted_journal(unit)}",
            f"Look at journalctl -u {unit or 'init.scope'}",
        )
    return done.stdout


def journal(unit: str, lines: int = 8) -> list[str]:
    """The last lines that the unit logged, and systemd about it, without secrets."""
    done = _run(["journalctl", "--unit", unit, "--lines", str(lines), "--output=cat", "--no-pager"])
    return [_SECRETS.sub("[hidden]", line) for line in done.stdout.splitlines()]


def quoted_journal(unit: str) -> str:
    """The journal of *unit* as the tail of an error message, '' without unit or lines."""
    lines = journal(unit) if unit else []
    return "".join(f"\n    {line}" for line in [f"last lines of {unit}:", *lines]) if lines else ""


def _run(command: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
