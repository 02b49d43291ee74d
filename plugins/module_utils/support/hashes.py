# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SHA-256 of the programs, units and rules of a host, to compare them with those of another one.

No file with a secret is among them, and no content leaves the host.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone

DIRECTORIES = (
    *("/opt/mcp-tunnel", "/etc/systemd/system", "/etc/sysusers.d", "/etc/nftables.d"),
    *("/etc/cron.d", "/etc/ld.so.preload", "/usr/local/bin", "/usr/local/sbin", "/usr/local/lib"),
)
_LARGEST = 256 * 1024 * 1024
_PIECE = 1024 * 1024


def lines(seconds: float, most: int, directories: Sequence[str] = DIRECTORIES) -> list[str]:
    """A line for each file: SHA-256, mode, owner, time of change in UTC, path, link's target.

    :param seconds: how long it may take; the last line says so if it was not enough.
    :param most: bytes of all lines.
    """
    deadline, room, found = time.monotonic() + seconds, most, []
    for path in _paths(directories):
        line = _line(path)
        room -= len(line.encode("utf-8", "backslashreplace")) + 1
        if room < 0 or time.monotonic() > deadline:
            found.append("... cut here")
            break
        found.append(line)
    return found


def _paths(directories: Sequence[str]) -> Iterator[str]:
    for root in directories:
        if os.path.isdir(root):
            for directory, below, names in os.walk(root):
                below.sort()
                links = [name for name in below if os.path.islink(os.path.join(directory, name))]
                yield from (os.path.join(directory, name) for name in sorted([*names, *links]))
        else:
            yield root


def _line(path: str) -> str:
    try:
        status = os.lstat(path)
        changed = datetime.fromtimestamp(int(status.st_ctime), timezone.utc)
        about = f"{stat.filemode(status.st_mode)} {status.st_uid}:{status.st_gid}"
        about += f" {changed:%Y-%m-%dT%H:%M:%SZ} {path!r}"
        if stat.S_ISLNK(status.st_mode):
            return f"{'-' * 64} {about} -> {os.readlink(path)!r}"
        return f"{_digest(path, status)} {about}"
    except OSError as error:
        return f"{'-' * 64} {path!r}: {error.strerror}"


def _digest(path: str, status: os.stat_result) -> str:
    """SHA-256, or dashes for something else than a file: a pipe would never end."""
    if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST:
        return "-" * 64
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    digest = hashlib.sha256()
    with open(descriptor, "rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()
