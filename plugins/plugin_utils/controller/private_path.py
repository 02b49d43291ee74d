# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories and files of the controller that no other user can exchange or write.

Once a path has passed, it may be used by name: only root and the running user can change what any
part of it means. The rules are those of OpenSSH's StrictModes, for every component of the path.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import stat
from collections.abc import Callable
from pathlib import Path

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError

_MOST_LINKS = 40  # as in Linux' own lookup of paths
_PRIVATE = 0o700
_WRITABLE = stat.S_IWGRP | stat.S_IWOTH


def ensure_private_directory(
    path: Path, refusal: Callable[[Path, str], TunnelError] | None = None
) -> Path:
    """Makes the absolute *path* a directory of the running user's alone; returns its real path.

    Missing parts of the path are made with mode 0700.

    :param refusal: the error for a part of the path and its problem; by default that of a cache.
    :raises TunnelError: if others own, or can write, a part of the path.
    :raises OSError: if it cannot be made.
    """

    def of_the_cache(found: Path, problem: str) -> TunnelError:
        return _refusal(path, found, problem)

    refused = refusal or of_the_cache
    real = _real_path(path, refused, may_make=True)
    status = real.lstat()
    if status.st_uid != os.geteuid():
        raise refused(real, f"belongs to the user with ID {status.st_uid}")
    # The user's private group, or the umask of another day, may have left it open.
    if stat.S_IMODE(status.st_mode) != _PRIVATE:
        real.chmod(_PRIVATE)
    return real


def check_unchangeable(path: Path, refusal: Callable[[Path, str], TunnelError]) -> Path:
    """The real path of the file or directory *path*, which is absolute, if nobody can exchange it.

    Nothing is made. On a file system that is mounted read-only, owners and modes do not count.

    :param refusal: the error for a part of the path and its problem.
    :raises TunnelError: if others than root own, or can write, a part of the path.
    :raises OSError: if it is not there, or cannot be looked at.
    """
    real = _real_path(path, refusal, may_make=False)
    status = real.lstat()
    if not (stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode)):
        raise refusal(real, "is neither a directory nor a plain file")
    return real


def is_private_file(path: Path) -> bool:
    """Whether there is a file *path*, in a directory that :func:`ensure_private_directory` made.

    :raises TunnelError: if it is no plain file of the running user's that nobody else can write.
    """
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    problem = ""
    if not stat.S_ISREG(status.st_mode):
        problem = "is not a plain file"
    elif status.st_uid != os.geteuid():
        problem = f"belongs to the user with ID {status.st_uid}"
    elif others_write(status):
        problem = "can be written by other users"
    if problem:
        raise TunnelError(
            str(path),
            f"{problem}, so what is cached there is not used",
            "Find out who made it, then remove it: the next run makes it anew",
        )
    return True


def _real_path(path: Path, refusal: Callable[[Path, str], TunnelError], may_make: bool) -> Path:
    """Follows the path part by part, as the kernel does, and makes what is missing if it may."""
    waiting = list(reversed(path.parts[1:]))
    here = Path("/")
    links = 0
    while waiting:
        part = waiting.pop()
        if part == "..":
            here = here.parent
            continue
        found = here / part
        if may_make:
            with contextlib.suppress(FileExistsError):
                if not os.path.lexists(found):
                    found.mkdir(_PRIVATE)
        status = found.lstat()
        is_link = stat.S_ISLNK(status.st_mode)
        fixed = not may_make and _is_mounted_read_only(here if is_link else found)
        if not fixed and status.st_uid not in (0, os.geteuid()):
            raise refusal(found, f"belongs to the user with ID {status.st_uid}")
        if is_link:
            links += 1
            if links > _MOST_LINKS:
                raise refusal(found, "is one of too many symbolic links")
            target = Path(os.readlink(found))
            waiting += reversed(target.parts[1:] if target.is_absolute() else target.parts)
            here = Path("/") if target.is_absolute() else here
            continue
        if not stat.S_ISDIR(status.st_mode) and (may_make or waiting):
            raise refusal(found, "is not a directory")
        # In a sticky directory (/tmp), nobody can exchange what belongs to us.
        is_sticky = bool(waiting and status.st_mode & stat.S_ISVTX)
        if not (fixed or is_sticky) and others_write(status):
            raise refusal(found, "can be written by other users")
        here = found
    return here


def _is_mounted_read_only(path: Path) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def others_write(status: os.stat_result) -> bool:
    """Whether anybody but root and the running user can write a file with this status."""
    if not status.st_mode & _WRITABLE:
        return False
    return bool(status.st_mode & stat.S_IWOTH) or not _is_private_group(status.st_gid)


def _is_private_group(gid: int) -> bool:
    """Whether the group is root's, or that of the running user and nobody else.

    Many systems give each user such a group, and a umask that lets it write.
    """
    if gid == 0:
        return True
    try:
        group, user = grp.getgrgid(gid), pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    if (user.pw_gid, user.pw_name) != (gid, group.gr_name) or set(group.gr_mem) - {user.pw_name}:
        return False
    return all(one.pw_uid == user.pw_uid for one in pwd.getpwall() if one.pw_gid == gid)


def _refusal(path: Path, found: Path, problem: str) -> TunnelError:
    return TunnelError(
        str(path),
        f"is not used as a cache, because {found} {problem}, and so could exchange what hosts get",
        f"Revoke that permission and remove {path}, in which nothing can be trusted; or set "
        "XDG_CACHE_HOME to a directory that is yours alone",
    )
