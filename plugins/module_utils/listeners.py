# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who listens on a TCP port of this host, read from /proc (see proc(5)); needs root."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

_LISTEN = "0A"
# 0.0.0.0, 127.0.0.1, ::, ::1 and ::ffff:127.0.0.1 as /proc/net/tcp and tcp6 print them on a
# little-endian machine: the addresses that a listener on 127.0.0.1 collides with.
_COLLIDING = {
    "00000000",
    "0100007F",
    "0" * 32,
    "0" * 24 + "01000000",
    "0" * 16 + "FFFF0000" + "0100007F",
}


@dataclass(frozen=True)
class Listener:
    """A listening process; ``unit`` is its systemd unit, '' when it has none or is not visible."""

    pid: int
    name: str
    unit: str

    def __str__(self) -> str:
        if not self.pid:
            return "another program"
        return f"{self.name} (process {self.pid}{', ' + self.unit if self.unit else ''})"


def find_listener(port: int, proc: Path = Path("/proc")) -> Listener | None:
    """The process that listens on *port* of loopback or of all addresses, or None."""
    for table in ("tcp", "tcp6"):
        try:
            lines = (proc / "net" / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            address, _colon, number = fields[1].partition(":")
            if fields[3] == _LISTEN and int(number, 16) == port and address in _COLLIDING:
                return _owner(proc, uid=int(fields[7]), inode=fields[9])
    return None


def _owner(proc: Path, uid: int, inode: str) -> Listener:
    wanted = f"socket:[{inode}]"
    for process in proc.iterdir():
        if not process.name.isdigit():
            continue
        try:
            # A forked worker may have changed its user: root's processes are looked at as well.
            if process.stat().st_uid not in (uid, 0):
                continue
            if any(os.readlink(fd) == wanted for fd in (process / "fd").iterdir()):
                name = (process / "comm").read_text().strip()
                return Listener(int(process.name), name, _unit((process / "cgroup").read_text()))
        except OSError:
            continue  # it ended meanwhile
    return Listener(0, "", "")


def _unit(cgroup: str) -> str:
    found = re.findall(r"/([^/\n]+\.service)", cgroup)
    return found[-1] if found else ""
