"""What the process costs, under the names that Prometheus' client libraries agree on.

The library's own collector reads ``/proc/stat`` and gives nothing at all where systemd hides it
(``ProcSubset=pid``, as in the proxy's unit); this one gets by with ``/proc/self``.
"""

from __future__ import annotations

import contextlib
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_PAGE = resource.getpagesize()


class ProcessMetrics(Collector):
    """CPU, memory, descriptors and start of this process."""

    def __init__(self) -> None:
        self._started = time.time()

    def collect(self) -> Iterator[Metric]:
        """See :class:`prometheus_client.registry.Collector`."""
        yield CounterMetricFamily(
            "process_cpu_seconds_total",
            "User and system CPU time spent.",
            value=time.process_time(),
        )
        yield _gauge("start_time_seconds", "When the process began (Unix time).", self._started)
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        yield _gauge("max_fds", "How many descriptors may be open.", descriptors)
        with contextlib.suppress(OSError):
            pages = Path("/proc/self/statm").read_text().split()
            yield _gauge("virtual_memory_bytes", "Virtual memory.", int(pages[0]) * _PAGE)
            yield _gauge("resident_memory_bytes", "Resident memory.", int(pages[1]) * _PAGE)
            yield _gauge("open_fds", "Open descriptors.", len(os.listdir("/proc/self/fd")))


def _gauge(name: str, documentation: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"process_{name}", documentation, value=value)
