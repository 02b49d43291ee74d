"""Removes what is left of a lab, however it ended. Every step may find nothing to do."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from pathlib import Path

from . import cgroups
from .network import NAMESPACES
from .paths import LabPaths
from .processes import run


def clean(paths: LabPaths) -> None:
    """Ends processes, removes cgroups, network namespace, disks and run directory.

    The caller holds the lab's lock. Raises LabError if processes cannot be killed.
    """
    cgroups.remove(paths.namespace)
    namespace = NAMESPACES / paths.namespace
    if namespace.exists():
        # Shared SSH connections and whatever else was started with `ip netns exec`: as long
        # as one of them lives, so does the namespace.
        _kill_inside(namespace)
        run(["ip", "netns", "delete", paths.namespace])
    shutil.rmtree(paths.disks, ignore_errors=True)
    shutil.rmtree(paths.run_dir, ignore_errors=True)


def _kill_inside(namespace: Path) -> None:
    wanted = namespace.stat().st_ino
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        found = False
        for entry in Path("/proc").iterdir():
            # A process may end while it is looked at.
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and (entry / "ns/net").stat().st_ino == wanted:
                    found = True
                    os.kill(int(entry.name), signal.SIGKILL)
        if not found:
            return
        time.sleep(0.02)
