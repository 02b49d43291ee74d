"""Telling systemd how the service is doing (sd_notify(3)); silent when systemd is not there."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping


class Notifier:
    """Sends state changes to the socket in ``NOTIFY_SOCKET``.

    ``watchdog_interval`` is how often :meth:`alive` is to be called, in seconds: half of what
    systemd waits for, 0 if the unit has no watchdog (sd_watchdog_enabled(3)).
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the null byte of Linux' abstract socket names (unix(7)).
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self.watchdog_interval = 0.0
        microseconds = environ.get("WATCHDOG_USEC", "")
        for_us = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        if self._address and for_us and microseconds.isdecimal():
            self.watchdog_interval = int(microseconds) / 2_000_000

    def ready(self, status: str) -> None:
        """Say that the service is up or has reloaded; ``systemctl status`` shows *status*."""
        self._send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """Say that a reload begins; :meth:`ready` has to follow."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str, seconds: float) -> None:
        """Say that the service ends within *seconds*: systemd must not kill it before."""
        self._send("STOPPING=1", f"STATUS={status}", f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def alive(self) -> None:
        """Feed the watchdog: the event loop runs."""
        self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.setblocking(False)
                sock.sendto("\n".join(lines).encode(), self._address)
        except OSError:
            pass  # systemd is being re-executed, or gone: nothing here may depend on it
