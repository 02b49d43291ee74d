"""One cgroup per lab and one per host below it.

Two systemds in one cgroup would mistake each other's services for their own. The cgroups also
serve to find the processes of a crashed lab.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from ..core.errors import LabError

_ROOT = Path("/sys/fs/cgroup")
#: Debian's releases whose systemd does not start without cgroup v2 (258 and later).
_NEED_V2 = {"14"}


def _hierarchies() -> list[Path]:
    """The roots of systemd's tree: cgroup v2, v1, or (hybrid) one of each."""
    if (_ROOT / "cgroup.procs").is_file():
        return [_ROOT]
    found = [_ROOT / name for name in ("systemd", "unified")]
    found = [path for path in found if (path / "cgroup.procs").is_file()]
    if not found:
        raise LabError(f"{_ROOT}: no cgroup hierarchy for systemd is mounted; hosts cannot boot")
    return found


def check(releases: Iterable[str]) -> None:
    """Looks whether containers of these releases of Debian can boot on this machine.

    Raises:
        LabError: they cannot.
    """
    refused = sorted(_NEED_V2.intersection(releases))
    if refused and _hierarchies() != [_ROOT]:
        raise LabError(
            f"Debian {', '.join(refused)}: its systemd needs cgroup v2, and the containers of this "
            "machine have v1; --machines makes virtual machines, which have v2"
        )


def create(lab: str, group: str) -> list[Path]:
    """Makes a group of the lab; returns the files into which a process writes 0 to join."""
    made = []
    for hierarchy in _hierarchies():
        path = hierarchy / lab / group
        path.mkdir(parents=True, exist_ok=True)
        made.append(path / "cgroup.procs")
    return made


def join(files: list[Path]) -> None:
    """Moves the calling process into the group."""
    for path in files:
        path.write_text("0")


def remove(lab: str, group: str = "") -> None:
    """Kills the processes left in the lab's group (or one group of it) and removes the group.

    Raises:
        LabError: processes survive SIGKILL for a minute.
    """
    for hierarchy in _hierarchies():
        top = hierarchy / lab / group
        deadline = time.monotonic() + 60
        while top.is_dir() and not _removed(top):
            if time.monotonic() > deadline:
                raise LabError(f"{top}: its processes do not end; see its cgroup.procs")
            time.sleep(0.02)


def kill(lab: str, group: str) -> None:
    """Kills the processes that are in the group of the lab at this moment; the group stays."""
    for hierarchy in _hierarchies():
        _kill(hierarchy / lab / group)


def _kill(directory: Path) -> None:
    with contextlib.suppress(OSError):
        for pid in (directory / "cgroup.procs").read_text().split():
            # 0 stands for a process of a PID namespace that we cannot see into.
            if pid != "0":
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)


def _removed(top: Path) -> bool:
    """One attempt: kills everything below, deepest directories first."""
    for directory, _, _ in os.walk(top, topdown=False):
        _kill(Path(directory))
        with contextlib.suppress(OSError):
            Path(directory).rmdir()
    return not top.exists()
