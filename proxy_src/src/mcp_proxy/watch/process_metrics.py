"""The cost of a process, as Prometheus' client libraries name it after ``process_``.

The library's own collector reads ``/proc/stat`` and gives nothing at all where systemd hides it
(``ProcSubset=pid``, as in the proxy's unit); this one gets by with ``/proc/self``.
"""

from __future__ import annotations

import contextlib
import os
import resource
import time
from pathlib import Path

_PAGE = resource.getpagesize()
_STARTED = time.time()

MEANINGS = {
    "cpu_seconds_total": "User and system CPU time spent.",
    "start_time_seconds": "When the process began (Unix time).",
    "max_fds": "How many descriptors may be open.",
    "virtual_memory_bytes": "Virtual memory.",
    "resident_memory_bytes": "Resident memory.",
    "open_fds": "Open descriptors.",
}


def measure() -> dict[str, float]:
    """The figures of this process now, by the names in :data:`MEANINGS`; it survives JSON."""
    found: dict[str, float] = {
        "cpu_seconds_total": time.process_time(),
        "start_time_seconds": _STARTED,
        "max_fds": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    }
    with contextlib.suppress(OSError):
        pages = Path("/proc/self/statm").read_text().split()
        found["virtual_memory_bytes"] = int(pages[0]) * _PAGE
        found["resident_memory_bytes"] = int(pages[1]) * _PAGE
        found["open_fds"] = len(os.listdir("/proc/self/fd"))
    return found
