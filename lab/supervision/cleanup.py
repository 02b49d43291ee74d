"""Removes the leftovers of a lab, however it ended. Every step may find nothing to do."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from ..core.paths import LabPaths
from ..hosts import cgroups
from . import mounts


def clean(paths: LabPaths) -> None:
    """Ends processes, removes cgroups, network namespace, disks and run directory.

    The caller holds the lab's lock. Raises LabError if processes cannot be killed, or a
    directory cannot be removed.
    """
    cgroups.remove(paths.label)
    # Shared SSH connections and everything else that was started with `nsenter`: the namespace
    # lives as long as any of them.
    _kill_inside(paths.network)
    mounts.remove_tree(paths.disks)
    mounts.remove_tree(paths.run_dir)


def _kill_inside(namespace: Path) -> None:
    """Kills every process in a network namespace; does nothing if there is no such file.

    The mount on the file keeps the namespace, so its number cannot be reused.
    """
    try:
        wanted = namespace.stat()
    except FileNotFoundError:
        return
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        killed = [_killed(entry, wanted) for entry in Path("/proc").glob("[0-9]*")]
        if not any(killed):
            return
        time.sleep(0.02)


def _killed(process: Path, namespace: os.stat_result) -> bool:
    """Kills a process if it is in the namespace; returns whether it was."""
    # A process may end during the check, and its number may be reused: the descriptor always
    # stands for the process that was checked.
    with contextlib.suppress(OSError):
        descriptor = os.pidfd_open(int(process.name))
        try:
            if os.path.samestat((process / "ns/net").stat(), namespace):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                return True
        finally:
            os.close(descriptor)
    return False
