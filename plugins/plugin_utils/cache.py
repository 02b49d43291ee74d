# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller keeps between runs: built once, published atomically, shared by all forks."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path


def cache_root() -> Path:
    """Where this collection caches on the controller (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(base) if os.path.isabs(base) else Path.home() / ".cache"
    return root / "mcp_tunnels.stack"


def cached(name: str, build: Callable[[Path], None]) -> Path:
    """Return the cached file *name*; when it is missing, *build* writes it to the path it gets.

    *name* must change when the content would. Forks and other runs that want the same file wait for
    the one that builds it. A build that fails or is killed leaves nothing under *name*.
    """
    target = cache_root() / name
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target.with_name(target.name + ".lock")):
        if not target.exists():
            with scratch_directory(target.parent) as scratch:
                build(scratch / target.name)
                os.replace(scratch / target.name, target)
    return target


@contextlib.contextmanager
def scratch_directory(parent: Path) -> Iterator[Path]:
    """A temporary directory below *parent*, removed at the end whatever happens."""
    scratch = tempfile.mkdtemp(prefix=".building-", dir=parent)
    try:
        yield Path(scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
