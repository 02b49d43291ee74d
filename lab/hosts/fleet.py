"""The hosts of a running lab. One that cannot be rebooted fails alone: the lab keeps running.

A reboot has many steps, and the kernel still takes the previous boot apart while they run. Each
of them may fail, so all of them are repeated several times, with pauses.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from ..network import namespaces
from ..network.addresses import HostAddress

_ATTEMPTS = 6
_FIRST_PAUSE = 0.1  # seconds; each is twice as long as the one before
#: A process that ends with an error within this time after a reboot has not booted.
_SECONDS_TO_START = 60.0


class _Spec(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def address(self) -> HostAddress: ...


class Bootable(Protocol):
    """A host as the fleet needs it (see ``nspawn`` and ``machine``).

    Attributes:
        boot_again: the status with which its process ends when the host is to boot again.
    """

    boot_again: int

    @property
    def spec(self) -> _Spec: ...
    def boot(self) -> subprocess.Popen[bytes]: ...


@dataclass
class _Member:
    host: Bootable
    process: subprocess.Popen[bytes]
    began: float
    boots: int = 1
    attempts: int = 0
    due: float | None = None
    failed: str | None = None


class Fleet:
    """Boots hosts, and boots them again; knows the state of each."""

    def __init__(self) -> None:
        self._members: dict[str, _Member] = {}

    def add(self, host: Bootable) -> None:
        """Boots a host for the first time. Raises LabError."""
        self._members[host.spec.name] = _Member(host, host.boot(), time.monotonic())

    def note_end(self, pid: int) -> bool:
        """Deals with the end of a child, if it was a host; returns whether it was."""
        for member in self._members.values():
            if member.process.pid == pid and member.process.returncode is None:
                self._ended(member, member.process.wait())
                return True
        return False

    def _ended(self, member: _Member, status: int) -> None:
        name = member.host.spec.name
        print(f"{name}: ended with status {status}", flush=True)
        if status == member.host.boot_again:
            member.attempts = 0
            namespaces.end_connections(member.host.spec.address)
            self._boot(member)
        elif status and member.boots > 1 and time.monotonic() - member.began < _SECONDS_TO_START:
            self._try_later(member, f"its process ended with status {status}")
        else:
            namespaces.end_connections(member.host.spec.address)

    def _boot(self, member: _Member) -> None:
        member.due = None
        try:
            member.process = member.host.boot()
        except Exception as error:  # even a bug fails this host only and does not end the lab
            self._try_later(member, f"{type(error).__name__}: {error}")
            return
        member.began = time.monotonic()
        member.boots += 1

    def _try_later(self, member: _Member, reason: str) -> None:
        member.attempts += 1
        name = member.host.spec.name
        if member.attempts >= _ATTEMPTS:
            member.failed = f"{reason} (tried {member.attempts} times)"
            print(f"{name}: reboot failed: {member.failed}", flush=True)
            return
        pause = _FIRST_PAUSE * 2 ** (member.attempts - 1)
        member.due = time.monotonic() + pause
        print(f"{name}: reboot, again in {pause:.1f} s: {reason}", flush=True)

    def pause(self) -> float | None:
        """Seconds until :meth:`boot_due` has to be called; None if no reboot is waiting."""
        due = [member.due for member in self._members.values() if member.due is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def boot_due(self) -> bool:
        """Repeats the reboots whose pause is over; returns whether there were any."""
        now = time.monotonic()
        due = [m for m in self._members.values() if m.due is not None and m.due <= now]
        for member in due:
            self._boot(member)
        return bool(due)

    def state(self) -> Mapping[str, Mapping[str, int | str | None]]:
        """Host -> `ended` (status, None while it runs), `boots`, `failed` (reason or None)."""
        return {
            name: {
                "ended": member.process.returncode,
                "boots": member.boots,
                "failed": member.failed,
            }
            for name, member in self._members.items()
        }
