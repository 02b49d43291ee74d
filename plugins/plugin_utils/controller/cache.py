# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's cache between runs: built once, published atomically, shared by all forks.

Nothing is trusted for its name. The directory is one that no other user can write, and the content
of a file is verified each time that it is about to be shipped.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller.private_path import (
    ensure_private_directory,
    is_private_file,
)

_BLOCK = 1 << 20


# The operating system's errors that concern the place, not the file.
_NO_PLACE = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.ENOTDIR,
    errno.ENOENT,
    errno.ENAMETOOLONG,
    errno.ELOOP,
)


def cache_root() -> Path:
    """This collection's cache directory on the controller (XDG Base Directory Specification).

    :raises TunnelError: if nothing says where it is.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        root = Path(base) if os.path.isabs(base) else Path.home() / ".cache"
    except RuntimeError:
        raise TunnelError(
            "the cache of the controller",
            "has no place: this user has no home directory",
            "Set HOME, or XDG_CACHE_HOME to the absolute path of a directory that is yours alone",
        ) from None
    return root / "mcp_tunnels.stack"


def is_cached(name: str) -> bool:
    """Whether the cache has a file of that name. :func:`cached` verifies its content.

    :raises TunnelError: if nothing says where the cache is.
    """
    # Not Path.is_file(), which fails in a directory that this user may not enter.
    return os.path.isfile(cache_root() / name)


def cached(
    name: str,
    build: Callable[[Path], None],
    is_right: Callable[[Path], bool] | None = None,
) -> Path:
    """Return the cached file *name*; when it is missing, *build* writes it to the path it gets.

    *name* must change when the content would. Forks and other runs that want the same file wait for
    the one that builds it. A build that fails or is killed leaves nothing under *name*.

    *is_right* compares the content with what is pinned; without it, the SHA-256 that was recorded
    when the file was built is compared. A file that is not right is built anew.

    :raises TunnelError: if others own, or can write, the file or a part of the path to it.
    """
    if not name or os.path.basename(name) != name or name.startswith("."):
        raise ValueError(f"{name!r} is not the name of a file")
    with _has_a_place():
        return _cached(name, build, is_right)


def _cached(
    name: str, build: Callable[[Path], None], is_right: Callable[[Path], bool] | None
) -> Path:
    root = ensure_private_directory(cache_root())
    target = root / name
    record = root / f"{name}.sha256"

    def is_hit() -> bool:
        if is_right is not None:
            return is_private_file(target) and is_right(target)
        # A killed run, or an older release, leaves a file without a record.
        return all([is_private_file(target), is_private_file(record)]) and record.read_text(
            encoding="ascii", errors="replace"
        ) == sha256_of(target)

    if is_hit():
        return target
    with _locked(root / f"{name}.lock"):
        if is_hit():
            return target
        with scratch_directory(root) as scratch:
            build(scratch / name)
            # Independent of the umask: a file that others can write is not used again.
            os.chmod(scratch / name, 0o600)
            if is_right is None:
                _write_private(scratch / record.name, sha256_of(scratch / name))
            os.replace(scratch / name, target)
            if is_right is None:
                os.replace(scratch / record.name, record)
    return target


@contextlib.contextmanager
def _has_a_place() -> Iterator[None]:
    """Says what to do where the directory of the cache cannot be written."""
    try:
        yield
    except OSError as error:
        root = str(cache_root())
        if error.errno not in _NO_PLACE or not _lies_on(str(error.filename or root), root):
            raise
        raise TunnelError(
            root,
            f"cannot be used as a cache: {error.filename or root}: {error.strerror}",
            "Make room or give this user the right to write there, or set XDG_CACHE_HOME to the "
            "absolute path of a directory that is yours alone; with mcp_tunnel_bundle, no cache is "
            "needed",
        ) from None


def _lies_on(path: str, root: str) -> bool:
    """Whether it is the directory, in it, or on the way to it, through any links."""
    path, root = os.path.realpath(path), os.path.realpath(root)
    return os.path.commonpath([path, root]) in (path, root)


@contextlib.contextmanager
def scratch_directory(parent: Path) -> Iterator[Path]:
    """A temporary directory below *parent*, removed at the end in any case."""
    scratch = tempfile.mkdtemp(prefix=".building-", dir=parent)
    try:
        yield Path(scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in lower-case hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(text)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    is_private_file(path)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
