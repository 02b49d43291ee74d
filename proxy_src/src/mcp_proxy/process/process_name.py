"""The names of the processes, as ps(1), top(1) and the kernel's log show them."""

from __future__ import annotations

import contextlib

SUPERVISOR = "mcp-proxy"


def of_worker(number: int) -> str:
    """Return the name of the worker *number*, from 1, as metrics and log have it."""
    return f"{SUPERVISOR}-w{number}"


def take(name: str) -> None:
    """Call this process *name*, of which the kernel keeps 15 bytes (proc(5), comm)."""
    # A name is no reason to fail: /proc may be closed to us.
    with contextlib.suppress(OSError), open("/proc/self/comm", "w", encoding="ascii") as comm:
        comm.write(name)
