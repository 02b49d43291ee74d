# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lease of an instance: of the runs that would change it, one at a time.

It lies in memory (``/run``), so it ends with a boot of the state host. Its time is that since the
boot, which nobody sets: clocks that disagree, or jump, change nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import secret_files

DIRECTORY = Path("/run/mcp-tunnel-lease")


@dataclass(frozen=True)
class Run:
    """A run of a playbook.

    :param id: tells it from all others.
    :param owner: who runs it and where, for people.
    :param controller: tells the machine, or the container, that it runs on from others.
    :param process: its process there, as ``PID:start time``.
    """

    id: str
    owner: str
    controller: str
    process: str


class Lease:
    """The lease of one instance.

    :param instance: its name.
    :param now: seconds since the boot.
    """

    def __init__(self, instance: str, directory: Path = DIRECTORY, now: float | None = None):
        self._file = directory / f"{instance}.json"
        self._is_alone = False
        self._now = time.clock_gettime(time.CLOCK_BOOTTIME) if now is None else now

    def holder(self) -> dict[str, Any]:
        """The run that holds it, and for how many ``seconds`` more; empty if none does."""
        content = secret_files.read_file(str(self._file))
        try:
            found = json.loads(content or b"{}")
            run, since = Run(**found["run"]), str(found["since"])
            # A time without end, which Python's JSON has, is none.
            left = int(float(found["until"]) - self._now)
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            # Of an interrupted write there is nothing, so this is nobody's.
            return {}
        if not all(isinstance(value, str) for value in asdict(run).values()):
            return {}
        return {**asdict(run), "since": since, "seconds": left} if left > 0 else {}

    def take(self, run: Run, seconds: int, instead_of: str, since: str) -> dict[str, Any]:
        """Takes it, or takes it for longer.

        :param seconds: how long it is to be held without another word.
        :param instead_of: id of a run whose lease may be taken over.
        :param since: the time in UTC, for people.
        :returns: the run that holds it instead; empty if it is ours.
        """
        with self.alone():
            held = self.holder()
            if held and held["id"] not in (run.id, instead_of):
                return held
            if held and held["id"] == run.id:
                since = held["since"]
            content = {"run": asdict(run), "since": since, "until": self._now + seconds}
            secret_files.write_file(
                str(self._file), json.dumps(content).encode(), secret_files.private_attributes()
            )
        return {}

    def release(self, run: Run) -> None:
        """Gives it back, if this run has it."""
        if not self._file.exists():
            return
        with self.alone():
            if self.holder().get("id") in (run.id, None):
                secret_files.remove_file(str(self._file))

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Alone with the leases, and with everything else that is changed in here.

        The lock ends with the process.
        """
        if self._is_alone:
            yield
            return
        lock = None
        while lock is None:
            # Another run that ends may remove it before it has its permissions.
            with contextlib.suppress(FileNotFoundError):
                secret_files.ensure_private_directory(str(self._file.parent), check_mode=False)
                lock = _lock(self._file.parent)
        self._is_alone = True
        try:
            yield
        finally:
            self._is_alone = False
            with contextlib.suppress(OSError):
                self._file.parent.rmdir()  # unless an instance is held
            os.close(lock)


def _lock(directory: Path) -> int | None:
    """A lock on the directory, as a descriptor; ``None`` if somebody has removed it meanwhile."""
    try:
        lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    fcntl.flock(lock, fcntl.LOCK_EX)
    with contextlib.suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(lock), os.stat(directory)):
            return lock
    os.close(lock)
    return None


def as_run(options: Mapping[str, Any]) -> Run:
    """The run in the options of a module."""
    return Run(**{name: options[name] for name in ("id", "owner", "controller", "process")})
