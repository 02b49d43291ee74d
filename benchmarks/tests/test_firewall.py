"""The arithmetic of the firewall's bench; the rest needs a laboratory."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks import BenchError
from benchmarks.figures import Sample
from benchmarks.firewall import _FIGURES, WORKS
from benchmarks.processes import Running, cpu_seconds


def test_three_figures_come_out_of_a_measurement() -> None:
    sample = Sample(500.0, {"proxy": 300.0, "load generator": 150.0, "upstream": 50.0}, 2000.0)
    taken = {key: figure(WORKS[0], sample) for key, (_, figure) in _FIGURES.items()}
    assert {key: one.value for key, one in taken.items()} == {
        "proxy_cpu": 300.0,
        "all_cpu": 500.0,
        "time": 500.0,  # µs per operation, at 2000 a second
    }
    assert taken["time"].rate == 2000


def test_a_running_process_is_measured_until_it_ends() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        running = Running("other", process.pid)
        assert cpu_seconds([running])["other"] >= 0
        process.communicate()
    with pytest.raises(BenchError, match=r"other \(process \d+\) has ended"):
        running.pids()
