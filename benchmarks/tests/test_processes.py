"""Processes that a figure is about."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from benchmarks import BenchError
from benchmarks.processes import Running, Service


@pytest.fixture
def family() -> Iterator[subprocess.Popen[str]]:
    """A shell that has started two processes; it ends with them when its input ends."""
    script = "sleep 60 & first=$!; sleep 60 & echo $first $!; read -r _; kill $first $!"
    with subprocess.Popen(
        ["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as shell:
        yield shell


def test_a_service_is_its_main_process_and_its_descendants(family: subprocess.Popen[str]) -> None:
    assert family.stdout is not None
    workers = [int(pid) for pid in family.stdout.readline().split()]
    assert sorted(Service("proxy", family.pid).pids()) == sorted([family.pid, *workers])
    assert Running("proxy", family.pid).pids() == [family.pid]
    family.communicate("\n")
    with pytest.raises(BenchError, match=rf"proxy \(process {family.pid}\) has ended"):
        Service("proxy", family.pid).pids()
