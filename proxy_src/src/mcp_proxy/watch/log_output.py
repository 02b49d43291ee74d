"""Where the log goes: a descriptor that may be full, broken, or read by nobody.

A proxy that waits for its log serves nobody. So lines that cannot be written at once are kept for a
while, and lost beyond that. The log gives the number of lost lines as soon as it is read again.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import time
from collections.abc import Callable
from typing import Final

_KEPT: Final = 1 << 20
"""Bytes that may wait for the reader."""

_AT_ONCE: Final = 1 << 16
_FIRST_RETRY: Final = 0.01
_LAST_RETRY: Final = 0.5
"""Seconds until the next attempt: first for a reader that is slow, at last for a stopped one."""

_LAST_SECONDS: Final = 1.0
"""Seconds that the end of the process waits for lines that are not written yet."""


class LogOutput:
    """Writes whole lines to a descriptor, and never waits for it."""

    def __init__(self, descriptor: int) -> None:
        self._send, self._close = _way_to(descriptor)
        self._waiting = bytearray()
        self._torn = False
        self._missing = 0
        self._lost: Callable[[int], str] = str
        self._retry_seconds = _FIRST_RETRY
        self._retrying = False

    def write(self, lines: str, lost: Callable[[int], str]) -> None:
        """Write *lines*, each with its end, now or later.

        *lost* makes the line that says how many lines are missing, if these are among them.
        """
        self._lost = lost
        data = lines.encode("ascii", "backslashreplace")
        if not self._retrying and self._drain() and self._confess():
            self._waiting += data
            self._drain()
        elif self._missing or len(self._waiting) + len(data) > _KEPT:
            self._missing += _count(data)
        else:
            self._waiting += data

    def finish(self) -> None:
        """Write the waiting lines, if they are read soon; after that, no write is possible."""
        end = time.monotonic() + _LAST_SECONDS
        while not self._drain() and self._waiting and time.monotonic() < end:
            time.sleep(0.02)
        self._close()

    def _confess(self) -> bool:
        if not self._missing:
            return True
        missing, self._missing = self._missing, 0
        self._waiting += self._lost(missing).encode("ascii")
        done = self._drain()
        if self._missing:
            self._missing = missing
        return done

    def _drain(self) -> bool:
        """Write the waiting bytes; return whether none are left."""
        try:
            while self._waiting:
                sent = self._send(bytes(self._waiting[:_AT_ONCE]))
                self._torn = self._waiting[sent - 1 : sent] != b"\n"
                del self._waiting[:sent]
            return True
        except BlockingIOError:
            self._retry_later()
        except OSError:
            # The disk is full, or the reader gone. Either may come back, so every write tries.
            self._missing += _count(self._waiting)
            # After a line that was written only in part, the next text starts a new line.
            self._waiting[:] = b"\n" if self._torn else b""
        return False

    def _retry_later(self) -> None:
        if self._retrying:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        self._retrying = True
        loop.call_later(self._retry_seconds, self._retry)

    def _retry(self) -> None:
        self._retrying = False
        before = len(self._waiting)
        self._retry_seconds = min(self._retry_seconds * 2, _LAST_RETRY)
        if self._drain():
            self._confess()
        if len(self._waiting) != before:
            self._retry_seconds = _FIRST_RETRY


def _count(data: bytes | bytearray) -> int:
    return sum(1 for line in bytes(data).split(b"\n") if line)


def _way_to(descriptor: int) -> tuple[Callable[[bytes], int], Callable[[], None]]:
    """Return a function that writes to *descriptor*, and one that frees what the first one uses.

    The first does not wait, whatever flags others who share the descriptor have set.
    """
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISSOCK(mode):
        sock = socket.socket(fileno=os.dup(descriptor))
        return lambda data: sock.send(data, socket.MSG_DONTWAIT), sock.close
    if stat.S_ISFIFO(mode):
        try:
            # Opened anew, because O_NONBLOCK applies to all who share an open file.
            path = f"/proc/self/fd/{descriptor}"
            own = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            pass  # another user's pipe, or one without a reader
        else:
            return lambda data: os.write(own, data), lambda: os.close(own)
    return lambda data: os.write(descriptor, data), lambda: None
