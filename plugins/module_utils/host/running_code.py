# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the code that the processes of a unit run, from outside, in /proc, as root.

A service's own word, for example that it has become another release, is worth nothing once it was
taken over. Its executable and the files that it has mapped are the kernel's word. They show which
process has not let go of the old code; they cannot show that a process which has loaded the new
release does nothing else besides. Only a start by systemd does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import systemd
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host.listeners import unit_of

# The kernel's mark on the name of a file that was replaced since: by a package's upgrade, say.
_DELETED = " (deleted)"
_MAPPED = re.compile(r"^[0-9a-f]+-[0-9a-f]+ ..x. \S+ \S+ \d+ +(/.*)$", re.MULTILINE)
_START_FIELD = 21  # of /proc/PID/stat, from 0, in ticks since boot (proc(5), starttime)


@dataclass(frozen=True)
class Process:
    """A process: its program, the code that it has mapped, and when it began (ticks)."""

    pid: int
    program: str
    mapped: tuple[str, ...]
    began: int


def processes(unit: str, proc: Path = Path("/proc")) -> list[Process]:
    """All processes of the unit, except those that end meanwhile."""
    return sorted(_processes(unit, proc), key=lambda process: process.pid)


def _processes(unit: str, proc: Path) -> Iterator[Process]:
    for path in proc.iterdir():
        if not path.name.isdigit():
            continue
        try:
            if unit_of((path / "cgroup").read_text()) != unit:
                continue
            program = os.readlink(path / "exe")
            mapped = _MAPPED.findall((path / "maps").read_text(errors="replace"))
            after_name = (path / "stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        code = tuple(dict.fromkeys(name.removesuffix(_DELETED) for name in mapped))
        began = int(after_name[_START_FIELD - 2])
        yield Process(int(path.name), program.removesuffix(_DELETED), code, began)


def problem(unit: str, release: Path, proc: Path = Path("/proc")) -> str:
    """Why *unit* does not run the release in the directory *release*, '' if it does.

    Its main process has to have the release's code. All others run the same program, and the code
    of the same release. Processes of the release before may go on only for as long as their unit
    gives them to finish.
    """
    release = Path(os.path.realpath(release))
    found = processes(unit, proc)
    pid, patience = _main(unit)
    main = next((process for process in found if process.pid == pid), None)
    if main is None:
        return "its main process is not there"
    binary = _binary(release)
    if main.program not in (binary, _interpreter(binary)):
        return f"its main process {pid} runs {main.program}"
    # A script without libraries has nothing that could be mapped.
    if main.program != binary and (release / "lib").is_dir() and not _of(release, main):
        return f"its main process {pid} runs {_release_of(release, main)}, not {release.name}"
    for process in found:
        if process.program != main.program:
            return f"its process {process.pid} runs {process.program}"
        if _others(release, process) and not _may_finish(process, found, release, patience, proc):
            return f"its process {process.pid} still runs {_release_of(release, process)}"
    return ""


def _main(unit: str) -> tuple[int, float]:
    """The unit's main process, and the seconds that it may take to stop."""
    text = systemd.systemctl("show", "--property=MainPID,TimeoutStopUSec", unit)
    fields = dict(line.partition("=")[::2] for line in text.splitlines())
    return int(fields.get("MainPID") or 0), systemd.seconds(fields.get("TimeoutStopUSec", ""))


def _binary(release: Path) -> str:
    """The program that the unit starts: the release's first one (mcp-proxy, cloudflared)."""
    found = sorted((release / "bin").glob("*"))
    return os.path.realpath(found[0]) if found else ""


def _interpreter(binary: str) -> str:
    """The program that the kernel runs for a script, '' for a binary."""
    try:
        with open(binary, "rb") as file:
            first = file.readline(256)
    except OSError:
        return ""
    words = first[2:].split() if first.startswith(b"#!") else []
    return os.path.realpath(words[0].decode()) if words else ""


def _of(release: Path, process: Process) -> bool:
    return any(Path(name).is_relative_to(release) for name in process.mapped)


def _others(release: Path, process: Process) -> list[str]:
    """The files of other releases of the same part that the process has mapped."""
    return [
        name
        for name in process.mapped
        if Path(name).is_relative_to(release.parent) and not Path(name).is_relative_to(release)
    ]


def _release_of(release: Path, process: Process) -> str:
    others = _others(release, process)
    if not others:
        return "nothing of any release"
    return f"release {Path(others[0]).relative_to(release.parent).parts[0]}"


def _may_finish(
    process: Process, found: list[Process], release: Path, patience: float, proc: Path
) -> bool:
    """Whether another release took over from it, not longer ago than *patience*.

    The takeover is the start of the first process that has only the code of the new release.
    """
    heirs = [other.began for other in found if _of(release, other) and not _others(release, other)]
    # The main process has kept its ID and its start time.
    heirs = [began for began in heirs if began > process.began]
    if not heirs:
        return False
    uptime = float((proc / "uptime").read_text().split()[0])
    return uptime - min(heirs) / os.sysconf("SC_CLK_TCK") <= patience
