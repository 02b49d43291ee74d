"""The logs of labs that ended unexpectedly outlive them, and a note says where they are."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from ..core.paths import LabPaths, cache_root

#: Crashed labs whose logs this machine keeps, of all checkouts together; the oldest go first.
_KEPT = 20


@dataclass(frozen=True)
class Crash:
    """An unexpected end of a lab.

    Attributes:
        lab: the lab's name.
        when: UTC, for people.
        reason: one line or more.
        logs: the directory that keeps its logs.
    """

    lab: str
    when: str
    reason: str
    logs: str

    def __str__(self) -> str:
        return (
            f"lab {self.lab} ended unexpectedly at {self.when}: {self.reason}; "
            f"its logs are in {self.logs}"
        )


def keep(paths: LabPaths, reason: str) -> Crash:
    """Copies a crashed lab's logs out of reach of its removal, and leaves a note of the crash.

    The reason names failures to copy (a full disk); the lab's removal has to continue.
    """
    now = time.gmtime()
    logs = _root() / f"{time.strftime('%Y%m%dT%H%M%SZ', now)}-{paths.checkout.tag}-{paths.name}"
    try:
        logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copytree(paths.logs, logs, dirs_exist_ok=True)
        for file in (paths.state, paths.spec):
            if file.exists():
                shutil.copy(file, logs)
        (logs / "reason.txt").write_text(f"{paths.checkout.path}: lab {paths.name}\n{reason}\n")
        _forget_the_oldest()
    except OSError as error:  # shutil.Error is one
        reason = f"{reason} (not everything could be kept: {error})"
    crash = Crash(paths.name, time.strftime("%Y-%m-%dT%H:%M:%SZ", now), reason, str(logs))
    partial = paths.crash.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(crash)))
    partial.replace(paths.crash)
    return crash


def keep_what_was_left(paths: LabPaths) -> Crash | None:
    """Does the same for a lab whose keeper was killed, too; None if nothing of a lab is left.

    The caller holds the lab's lock: nobody else will do it.
    """
    if not paths.logs.is_dir():
        return None
    return keep(paths, "its keeper was killed, and the kernel ended the rest")


def last(paths: LabPaths) -> Crash | None:
    """The last end of the lab of this name, if it was unexpected and nobody has dealt with it."""
    try:
        return Crash(**json.loads(paths.crash.read_text()))
    except FileNotFoundError:
        return None


def forget(paths: LabPaths) -> None:
    """Takes the note away; the logs stay."""
    paths.crash.unlink(missing_ok=True)


def _root() -> Path:
    return cache_root() / "logs"


def _forget_the_oldest() -> None:
    # Their names begin with the time.
    for directory in sorted(_root().iterdir())[:-_KEPT]:
        shutil.rmtree(directory, ignore_errors=True)  # another lab may be at it
