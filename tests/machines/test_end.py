"""However a laboratory of virtual machines ends, no QEMU outlives it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from lab.core.paths import LabPaths
from lab.supervision import lifecycle
from lab.tests.support import lab, lab_command, leftovers

pytestmark = pytest.mark.exhaustive


def _machines(name: str) -> list[str]:
    return [line for line in leftovers(name) if "qemu-system" in line]


def test_a_killed_up_leaves_no_machine() -> None:
    name = f"k{os.getpid() % 10000000}"
    process = lab_command(
        *("up", name, "--hosts", "2", "--debian", "13", "--machines"), start_new_session=True
    )
    try:
        deadline = time.monotonic() + 600
        while len(_machines(name)) < 2:
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGKILL)
        while leftovers(name):
            assert time.monotonic() < deadline, leftovers(name)
            time.sleep(0.1)
    finally:
        lifecycle.down(LabPaths(name))


def test_down_leaves_no_machine_even_in_its_boot() -> None:
    name = f"d{os.getpid() % 10000000}"
    process = lab_command("up", name, "--hosts", "1", "--debian", "13", "--machines")
    while not _machines(name):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    pid = int(_machines(name)[0].split()[1].rstrip(":"))
    status, output = lab("down", name)
    assert (status, output) == (0, f"lab {name}: ended\n")
    assert not Path(f"/proc/{pid}").exists()
    assert leftovers(name) == []
    assert process.wait(20) != 0
