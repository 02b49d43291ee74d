# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are never half-written and never readable by others for a moment."""

from __future__ import annotations

import errno
import os
import re
import stat
from dataclasses import dataclass

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError

_TEMPORARY = ".{name}.{pid}.mcp-tunnel"
_MODE = re.compile(r"0[0-7]{3}")


@dataclass(frozen=True)
class Attributes:
    """Owner, group and permissions of a file or directory.

    ``None`` as owner or group: an account that does not exist yet, in check mode.
    """

    uid: int | None
    gid: int | None
    mode: int

    def match(self, status: os.stat_result) -> bool:
        """Whether a file has these attributes already."""
        return (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (
            self.uid,
            self.gid,
            self.mode,
        )


def attributes_of(status: os.stat_result) -> Attributes:
    """The attributes that a file has."""
    return Attributes(status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode))


def private_attributes() -> Attributes:
    """The owner, group and mode for a secret of the running user."""
    return Attributes(os.geteuid(), os.getegid(), 0o600)


def parse_mode(text: str, subject: str) -> int:
    """Reads four octal digits like ``0640``.

    :raises TunnelError: for anything else; a YAML number has lost its base on the way here.
    """
    if not _MODE.fullmatch(text):
        raise TunnelError(
            subject,
            f"mode {text!r} is not four octal digits",
            'Write the mode in quotes and with a leading zero, like "0640"',
        )
    return int(text, 8)


def resolve_account(kind: str, name: str, check_mode: bool, subject: str) -> int | None:
    """Returns the number of a user (``kind`` "user") or group ("group"), given by name or number.

    An unknown one is ``None`` in check mode, where an earlier task would have made it.

    :raises TunnelError: if there is no such account.
    """
    import grp
    import pwd

    try:
        return pwd.getpwnam(name).pw_uid if kind == "user" else grp.getgrnam(name).gr_gid
    except KeyError:
        if name.isdigit():
            return int(name)
        if check_mode:
            return None
    raise TunnelError(
        subject,
        f"there is no {kind} {name!r} on this host",
        f"Create the {kind} before this task, or correct its name",
    )


def absolute_path(path: str) -> str:
    """Returns the path without ``..``, ``//`` and trailing slash.

    :raises TunnelError: if it is relative, or the root directory.
    """
    normal = os.path.normpath(path)
    if not os.path.isabs(path) or normal in ("/", "//"):
        raise TunnelError(path, "is not an absolute path below /", "Give the whole path")
    return normal


def lstat(path: str) -> os.stat_result | None:
    """Status of the path itself, or ``None`` when nothing is there."""
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def read_file(path: str) -> bytes | None:
    """Content of a regular file, or ``None`` when there is none. Symbolic links are not followed.

    :raises TunnelError: if something else than a file is there.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise _not_a_file(path) from None
        raise
    # Before it becomes a stream: Python makes none of a directory, and its error names no path.
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _not_a_file(path)
    with os.fdopen(descriptor, "rb") as stream:
        return stream.read()


def _not_a_file(path: str) -> TunnelError:
    return TunnelError(path, "is not a regular file", "Move it away")


def sync_directory(path: str) -> None:
    """Makes the renames inside a directory survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def rename(source: str, destination: str) -> None:
    """Renames within a file system, durably."""
    os.rename(source, destination)
    sync_directory(os.path.dirname(destination))


def remove_file(path: str) -> bool:
    """Removes a file or link; returns whether there was one."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    sync_directory(os.path.dirname(path))
    return True


def write_file(path: str, content: bytes, attributes: Attributes) -> None:
    """Replaces a file by temporary file, attributes, sync, rename; never follows a link there."""
    temporary = temporary_path(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            apply_attributes(descriptor, attributes)
            os.fsync(descriptor)
        rename(temporary, path)
    except BaseException as error:
        # For a descriptor, the system's error names no file.
        if isinstance(error, OSError) and error.filename is None:
            error.filename = path
        remove_file(temporary)
        raise


def replace_link(path: str, target: str) -> None:
    """Makes ``path`` a symbolic link in one step, even where another link was."""
    temporary = temporary_path(path)
    os.symlink(target, temporary)
    try:
        rename(temporary, path)
    except BaseException:
        remove_file(temporary)
        raise


def apply_attributes(descriptor: int, attributes: Attributes) -> None:
    """Sets owner, then permissions: a change of owner clears permission bits."""
    if attributes.uid is None or attributes.gid is None:
        raise ValueError("attributes of a check-mode prediction cannot be applied")
    os.fchown(descriptor, attributes.uid, attributes.gid)
    os.fchmod(descriptor, attributes.mode)


def set_attributes(path: str, attributes: Attributes) -> None:
    """Sets the attributes of an existing file or directory, not following a link."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        apply_attributes(descriptor, attributes)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: str, attributes: Attributes) -> None:
    """Makes one directory; for a moment it has narrower permissions than wanted, never wider."""
    os.mkdir(path, 0o700)
    set_attributes(path, attributes)
    sync_directory(os.path.dirname(path))


def make_private_directory(path: str) -> bool:
    """Makes a directory of mode 0700, and those above it.

    Returns whether it did: false if something is there, even if that came in the same moment.
    """
    os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    try:
        make_directory(path, Attributes(os.geteuid(), os.getegid(), 0o700))
    except FileExistsError:
        return False
    return True


def ensure_private_directory(path: str, check_mode: bool) -> bool:
    """Makes sure that a state directory exists with mode 0700; returns whether that is a change.

    :raises TunnelError: if something else than a directory is there.
    """
    wanted = Attributes(os.geteuid(), os.getegid(), 0o700)
    status = lstat(path)
    if status is not None and not stat.S_ISDIR(status.st_mode):
        raise TunnelError(path, "is not a directory", "Move it away, or choose another path")
    if status is not None and wanted.match(status):
        return False
    if not check_mode:
        if status is None:
            # If another run has made it meanwhile, it is treated like one that was there before.
            return make_private_directory(path) or ensure_private_directory(path, check_mode)
        set_attributes(path, wanted)
    return True


def temporary_path(path: str) -> str:
    """A free name beside ``path`` for this process; removes files that killed processes left."""
    directory, name = os.path.split(path)
    for leftover in leftovers(path):
        remove_file(leftover)
    return os.path.join(directory, _TEMPORARY.format(name=name, pid=os.getpid()))


def leftovers(path: str) -> list[str]:
    """Temporary files of ``path`` whose process is gone (or had our own number)."""
    directory, name = os.path.split(path)
    pattern = re.compile(rf"\.{re.escape(name)}\.(\d+)\.mcp-tunnel")
    try:
        entries = os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []
    matches = (pattern.fullmatch(entry) for entry in entries)
    return [
        os.path.join(directory, match.group(0))
        for match in matches
        if match and not _is_running(int(match.group(1)))
    ]


def _is_running(pid: int) -> bool:
    """Whether another process with this number exists."""
    return pid != os.getpid() and os.path.exists(f"/proc/{pid}")
