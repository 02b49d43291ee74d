# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds units that systemd would leave out at the next boot, because of an ordering cycle.

systemd breaks a cycle by deleting the job of a unit in it. Nothing says so before that boot:
a unit that runs and is enabled looks fine until then.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

# systemd-analyze(1) queues the jobs of a whole boot; unit files alone are read, nothing is started.
COMMAND = ("systemd-analyze", "verify", "--man=no", "default.target")
_SECONDS = 30
_OURS = ("mcp-proxy@", "mcp-cloudflared@", "mcp-tunnel-")
# As systemd 247 to 257 say it.
_MEMBER = re.compile(r": Found (?:ordering cycle|dependency) on (\S+)/start$")
_DELETED = re.compile(r": Job (\S+)/start deleted to break ordering cycle ")


@dataclass(frozen=True)
class Cycle:
    """Units that are ordered in a circle, and the one of them that would not be started."""

    lost: str
    units: tuple[str, ...]


def cycles() -> list[Cycle] | None:
    """The cycles that a unit of ours takes part in; None if that could not be tried."""
    try:
        done = subprocess.run(  # noqa: S603
            COMMAND, capture_output=True, text=True, check=False, timeout=_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return list(_cycles(done.stderr))


def _cycles(text: str) -> Iterator[Cycle]:
    members: dict[str, None] = {}
    for line in text.splitlines():
        if member := _MEMBER.search(line):
            members[member[1]] = None
        elif deleted := _DELETED.search(line):
            units = tuple(dict.fromkeys((deleted[1], *members)))
            if any(unit.startswith(_OURS) for unit in units):
                yield Cycle(deleted[1], units)
            members = {}
