"""Starting helpers, and telling a process from a later one with the same number."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .errors import LabError


def run(argv: Sequence[str], stdin: str | None = None, timeout: float | None = None) -> str:
    """Runs a command to its end and returns its standard output.

    Args:
        timeout: seconds after which it is killed.

    Raises:
        LabError: it cannot be started, its exit status is not 0 (with its output), or it takes
            too long.
    """
    try:
        done = subprocess.run(
            argv, input=stdin, capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        raise LabError(f"`{' '.join(argv)}` did not end within {timeout:.0f} s") from None
    except OSError as error:
        raise LabError(f"{argv[0]}: {error.strerror}; has tools/bootstrap been run?") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise LabError(f"`{' '.join(argv)}` ended with status {done.returncode}: {said}")
    return done.stdout


def dies_with_me(argv: Sequence[str]) -> list[str]:
    """The command, which the kernel kills when the thread that starts it ends in any way."""
    return ["setpriv", "--pdeathsig", "KILL", *argv]


def _start_time(pid: int) -> int | None:
    """Clock ticks since boot at which the process started, None if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The command name may contain anything, ")" included; the fields come after the last one.
    return int(stat.rpartition(")")[2].split()[19])


def record_self(path: Path) -> None:
    """Writes this process's identity, for :func:`recorded`."""
    pid = os.getpid()
    path.write_text(json.dumps({"pid": pid, "start_time": _start_time(pid)}))


def recorded(path: Path) -> int | None:
    """The PID that :func:`record_self` wrote, if that very process is still alive."""
    try:
        entry = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    pid = int(entry["pid"])
    return pid if _start_time(pid) == entry["start_time"] else None


def alive(pid: int) -> bool:
    """Whether the process exists and is more than a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"
