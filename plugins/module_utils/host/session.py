# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection over which this process was started, as the kernel knows it."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# A connection that is open, as the kernel numbers it (include/net/tcp_states.h).
_ESTABLISHED = "01"


@dataclass(frozen=True)
class Connection:
    """A TCP connection of this host.

    :param port: of this host.
    :param peer: IP address of the other side, as this host sees it.
    """

    port: int
    peer: str


def connections(proc: Path = Path("/proc"), pid: int = 0) -> set[Connection]:
    """The TCP connections that the programs above this process have.

    Over SSH, that is the present session, whatever the controller calls its ends: between the two
    may be a router that translates them, and sudo(8) removes SSH_CONNECTION. Run it as root.

    :param pid: the process to begin with; 0 for this one.
    """
    sockets = {fd for each in _ancestors(proc, pid or os.getpid()) for fd in _sockets(proc, each)}
    return {found for inode, found in _connections(proc) if f"socket:[{inode}]" in sockets}


def _ancestors(proc: Path, pid: int) -> Iterator[int]:
    """The processes above this one, without the first process of the host."""
    while (pid := _parent(proc, pid)) > 1:
        yield pid


def _parent(proc: Path, pid: int) -> int:
    try:
        stat = (proc / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    # The name of a program may have blanks and brackets in it (proc_pid_stat(5)).
    return int(stat.rpartition(")")[2].split()[1])


def _sockets(proc: Path, pid: int) -> Iterator[str]:
    with contextlib.suppress(OSError):
        for descriptor in (proc / str(pid) / "fd").iterdir():
            # Closed meanwhile: the others are still of interest.
            with contextlib.suppress(OSError):
                yield os.readlink(descriptor)


def _connections(proc: Path) -> Iterator[tuple[str, Connection]]:
    """Inode of each open connection, and the connection."""
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in (proc / "net" / table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _ESTABLISHED:
                    port = int(fields[1].rpartition(":")[2], 16)
                    yield fields[9], Connection(port, _address(fields[2].rpartition(":")[0]))


def _address(digits: str) -> str:
    """The IP address in these hexadecimal digits: words of 32 bits, in the order of the machine."""
    words = (int(digits[at : at + 8], 16) for at in range(0, len(digits), 8))
    packed = b"".join(word.to_bytes(4, sys.byteorder) for word in words)
    if len(packed) == 4:
        return str(ipaddress.IPv4Address(packed))
    found = ipaddress.IPv6Address(packed)
    # A socket for both families has its IPv4 peers so.
    return str(found.ipv4_mapped or found)
