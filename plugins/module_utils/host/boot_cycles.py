# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds units that systemd would leave out at the next boot, because of an ordering cycle.

systemd breaks a cycle by deleting the job of a unit in it, at each boot of another one: the choice
follows the order of a hash table with a random seed. Nothing says so before that boot: a unit that
runs and is enabled looks fine until then.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

# systemd-analyze(1) queues the jobs of a whole boot; unit files alone are read, nothing is started.
COMMAND = ("systemd-analyze", "verify", "--man=no", "default.target")
_SECONDS = 30
_OURS = ("mcp-proxy@", "mcp-cloudflared@", "mcp-tunnel-")
# As systemd 247 to 257 say it.
_MEMBER = re.compile(r": Found (?:ordering cycle|dependency) on (\S+)/start$")
_DELETED = re.compile(r": Job (\S+)/start deleted to break ordering cycle ")


def cycles() -> list[tuple[str, ...]] | None:
    """The units of each cycle that has one of ours, which come first; None if that is unknown."""
    try:
        done = subprocess.run(  # noqa: S603
            COMMAND, capture_output=True, text=True, check=False, timeout=_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return list(dict.fromkeys(_cycles(done.stderr)))


def _cycles(text: str) -> Iterator[tuple[str, ...]]:
    members: set[str] = set()
    for line in text.splitlines():
        if member := _MEMBER.search(line):
            members.add(member[1])
        elif deleted := _DELETED.search(line):
            units = sorted({deleted[1], *members}, key=lambda unit: (not _is_ours(unit), unit))
            if _is_ours(units[0]):
                yield tuple(units)
            members = set()


def _is_ours(unit: str) -> bool:
    return unit.startswith(_OURS)
