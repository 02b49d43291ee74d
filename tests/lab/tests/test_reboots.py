"""Reboots: many of them, at the same time and under load; and steps of them that fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from lab.fleet import REBOOT_STATUS, Fleet
from lab.hosts import HostSpec
from lab.paths import LabPaths
from lab.processes import dies_with_me
from lab.tests.support import RunningLab, lab

AddTool = Callable[[str, str], None]

#: Of both hosts together. `make lab-reboots` does more.
REBOOTS = int(os.environ.get("REBOOTS", "8"))
_HOSTS = ("host1", "host2")


@pytest.fixture
def load() -> Iterator[None]:
    """One process for each processor that computes all the time."""
    busy = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(dies_with_me(busy)) for _ in range(os.cpu_count() or 1)]
    yield
    for process in processes:
        process.kill()
        process.wait()


def test_reboots_of_two_hosts_under_load(name: str, load: None) -> None:
    status, output = lab("up", name, "--hosts", "2", "--debian", "12,13")
    assert status == 0, output

    def reboots(host: str) -> list[str]:
        failed = []
        for number in range(REBOOTS // 2):
            status, output = lab("host", name, "reboot", host)
            if status != 0:
                failed.append(f"{host}, reboot {number + 1}: {output}")
        return failed

    began = time.monotonic()
    with ThreadPoolExecutor() as pool:
        failed = [text for texts in pool.map(reboots, _HOSTS) for text in texts]
    print(
        f"{REBOOTS // 2 * 2} reboots of {len(_HOSTS)} hosts in {time.monotonic() - began:.0f} s: "
        f"{len(failed)} failures"
    )
    assert failed == []
    state = json.loads(LabPaths(name).state.read_text())["hosts"]
    assert [state[host]["boots"] for host in _HOSTS] == [1 + REBOOTS // 2] * 2


#: In front of the real `ip`: the given commands fail as often as the file says, each after it has
#: done what it should: as if the kernel had been faster.
_FAILING_IP = """
ip=$(PATH=/usr/sbin:/usr/bin:/sbin:/bin command -v ip)
case "$*" in {pattern})
    left=$(cat {counter} 2>/dev/null || echo 0)
    if [ "$left" -gt 0 ]; then
        echo $((left - 1)) >{counter}
        {before}
        echo "Cannot find device" >&2
        exit 1
    fi
esac
exec "$ip" "$@"
"""


@pytest.fixture
def failures(tmp_path: Path, fake_tools: AddTool) -> Callable[[str, str], Path]:
    """Makes commands of `ip` fail: pattern of a shell, what is done before -> the counter."""

    def make(pattern: str, before: str = "") -> Path:
        counter = tmp_path / "failures"
        fake_tools("ip", _FAILING_IP.format(pattern=pattern, counter=counter, before=before))
        return counter

    return make


#: A command of a reboot, and what is done before it fails.
_STEPS = [
    ("'link delete port0'|'link show'*", '"$ip" "$@"'),  # gone between look and act
    ("'netns delete '*", ""),
    ("'netns add '*", ""),
    ("'netns add '*", '"$ip" "$@"'),
    ("*-batch*", ""),
    ("*-batch*", '"$ip" "$@"'),
]


def test_a_step_that_fails_is_repeated(name: str, failures: Callable[[str, str], Path]) -> None:
    failures("none", "")
    assert lab("up", name, "--hosts", "1")[0] == 0
    for step in _STEPS:
        counter = failures(*step)
        counter.write_text("1")
        status, output = lab("host", name, "reboot", "host1")
        assert status == 0, (step, output)
        assert counter.read_text() == "0\n", step
        assert lab("status", name)[0] == 0, step


def test_a_host_that_cannot_be_rebooted_fails_alone(
    name: str, failures: Callable[[str, str], Path]
) -> None:
    counter = failures("'netns add '*", "")
    assert lab("up", name, "--hosts", "2")[0] == 0
    counter.write_text("100000")

    status, output = lab("host", name, "reboot", "host1")

    assert status == 1
    assert "host1 cannot be rebooted: LabError: `ip netns add host1`" in output
    assert "Cannot find device (tried 6 times)" in output
    status, output = lab("status", name)
    assert status == 1
    assert "host1        reboot failed: LabError: `ip netns add host1`" in output
    assert "host2        running" in output
    counter.write_text("0")
    assert lab("host", name, "reboot", "host2")[0] == 0
    assert RunningLab(LabPaths(name)).on("host2", "hostname") == "host2"


class FakeHost:
    """A host whose boots end at once, each with its status; after the last one it runs."""

    spec = HostSpec("fake", 99, "12", Path())

    def __init__(self, statuses: list[int]) -> None:
        self.statuses = statuses
        self.process: subprocess.Popen[bytes]
        self.runs = False

    def boot(self) -> subprocess.Popen[bytes]:
        self.runs = not self.statuses
        script = "exec sleep 60" if self.runs else f"exit {self.statuses.pop(0)}"
        self.process = subprocess.Popen(["/bin/sh", "-c", script])
        return self.process


@pytest.mark.parametrize(
    ("statuses", "runs", "failed"),
    [
        ([REBOOT_STATUS, 1, 1], True, None),  # free at the third attempt
        ([REBOOT_STATUS, *[1] * 20], False, "systemd-nspawn ended with status 1 (tried 6 times)"),
        ([0], False, None),  # power off
        ([1], False, None),  # not a reboot
    ],
)
def test_nspawn_that_does_not_start_is_started_again(
    statuses: list[int], runs: bool, failed: str | None, fake_tools: AddTool
) -> None:
    fake_tools("ss", "exit 0")
    host = FakeHost(statuses)
    fleet = Fleet()
    fleet.add(host)
    settled = False
    while not settled:  # as the supervisor does
        if host.process.returncode is None and not host.runs:
            os.waitid(os.P_PID, host.process.pid, os.WEXITED | os.WNOWAIT)
            assert fleet.note_end(host.process.pid)
        time.sleep(fleet.pause() or 0)
        settled = not fleet.boot_due() and (host.runs or host.process.returncode is not None)
    assert (host.runs, fleet.state()["fake"]["failed"]) == (runs, failed)
    host.process.kill()
    host.process.wait()
