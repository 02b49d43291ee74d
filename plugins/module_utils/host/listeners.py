# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who listens on a TCP port of this host, and who answers there: read from /proc, as root."""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path

# States of connections as the kernel numbers them (include/net/tcp_states.h).
_LISTEN = "0A"
_PAUSE_SECONDS = 0.02
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
    """A process with a socket.

    ``unit`` is its systemd unit, '' when it has none or is not visible; ``uid`` is its user.
    """

    pid: int
    name: str
    unit: str
    uid: int = 0

    def __str__(self) -> str:
        if not self.pid:
            return "another program"
        of_whom = [f"process {self.pid}", f"user {_user(self.uid)}", *filter(None, [self.unit])]
        return f"{self.name} ({', '.join(of_whom)})"


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


def answerer(
    connection: socket.socket, seconds: float, proc: Path = Path("/proc")
) -> Listener | None:
    """The process that has accepted *connection*, an IPv4 one on loopback, waiting for it so long.

    None if no process has: a listener need not accept its clients. This is about the connection
    at hand; the listener of a moment ago does not matter.
    """
    theirs, ours = connection.getpeername(), connection.getsockname()
    deadline = time.monotonic() + seconds
    while True:
        found = _of_connection(proc, theirs, ours)
        # A process that is accepting it at this moment has no descriptor of it yet.
        if (found is not None and found.pid) or time.monotonic() >= deadline:
            return found
        time.sleep(_PAUSE_SECONDS)


def _of_connection(proc: Path, local: tuple[str, int], remote: tuple[str, int]) -> Listener | None:
    # An IPv6 socket that takes IPv4 as well has it in the other table, with mapped addresses.
    for table, before in (("tcp", ""), ("tcp6", "0" * 16 + "FFFF0000")):
        wanted = [f"{before}{_hexadecimal(host)}:{port:04X}" for host, port in (local, remote)]
        with contextlib.suppress(OSError):
            for line in (proc / "net" / table).read_text().splitlines()[1:]:
                fields = line.split()
                # Inode 0: nobody has accepted the connection, or all have closed it.
                if fields[1:3] == wanted and fields[9] != "0":
                    return _owner(proc, uid=int(fields[7]), inode=fields[9])
    return None


def _hexadecimal(host: str) -> str:
    """An IPv4 address as /proc prints it: the number as it lies in memory."""
    return f"{struct.unpack('=I', socket.inet_aton(host))[0]:08X}"


def _owner(proc: Path, uid: int, inode: str) -> Listener:
    """Who has the socket. Paths are texts: a machine may have thousands of descriptors."""
    wanted = f"socket:[{inode}]"
    for pid in filter(str.isdigit, os.listdir(proc)):
        process = f"{proc}/{pid}"
        try:
            owner = os.stat(process).st_uid
            # A forked worker may have changed its user: root's processes are checked, too.
            if owner not in (uid, 0):
                continue
            if any(_target(f"{process}/fd/{fd}") == wanted for fd in os.listdir(f"{process}/fd")):
                name = Path(process, "comm").read_text().strip()
                unit = unit_of(Path(process, "cgroup").read_text())
                return Listener(int(pid), name, unit, owner)
        except OSError:
            continue  # it ended meanwhile
    return Listener(0, "", "", uid)


def _target(descriptor: str) -> str:
    try:
        return os.readlink(descriptor)
    except OSError:
        return ""  # closed meanwhile: the others are still of interest


def unit_of(cgroup: str) -> str:
    """The system's unit that a process belongs to, by its /proc/PID/cgroup; '' if it has none.

    The first service on the path: a user may call services of its own what it likes, but all of
    them are below ``user@UID.service``. Of the hierarchies only systemd's counts (cgroups(7)).
    """
    paths = {}
    for line in cgroup.splitlines():
        _number, _colon, rest = line.partition(":")
        controllers, _colon, path = rest.partition(":")
        paths[controllers] = path
    names = paths.get("name=systemd", paths.get("", "")).split("/")
    return next((name for name in names if name.endswith(".service")), "")


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
