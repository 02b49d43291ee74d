from __future__ import annotations

import time

import pytest
from exposed import samples
from mcp_proxy.watch import process_metrics
from mcp_proxy.watch.metrics import Metrics
from prometheus_client import CollectorRegistry, ProcessCollector


def test_the_process_is_measured_without_proc_stat() -> None:
    """Compare with the library's own collector, which needs files that the unit's sandbox hides."""
    reference = CollectorRegistry()
    ProcessCollector(registry=reference)
    found = samples(Metrics())
    for name in ("cpu_seconds_total", "resident_memory_bytes", "virtual_memory_bytes", "open_fds"):
        expected = reference.get_sample_value(f"process_{name}")
        assert found[f"process_{name}", ()] == pytest.approx(expected, rel=0.1)
    assert found["process_max_fds", ()] == reference.get_sample_value("process_max_fds")
    started = reference.get_sample_value("process_start_time_seconds")
    # Our start time is when the module was loaded, here with the tests. Theirs is of the boot's
    # time and a clock that was set since.
    assert started - 5 < found["process_start_time_seconds", ()] <= time.time()


def test_each_worker_has_its_own() -> None:
    measured = process_metrics.measure()
    found = samples(Metrics(), {"0": measured, "1": {"open_fds": 7}})
    for name, value in measured.items():
        assert found[f"mcp_proxy_worker_{name}", (("worker", "0"),)] == value
    one = {name: value for (name, labels), value in found.items() if ("worker", "1") in labels}
    assert one == {"mcp_proxy_worker_open_fds": 7}
