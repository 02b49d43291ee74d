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

from lab.core.paths import LabPaths
from lab.core.processes import dies_with_me
from lab.hosts.fleet import Fleet
from lab.hosts.nspawn import REBOOT_STATUS
from lab.hosts.specs import HostSpec
from lab.supervision import lifecycle
from lab.tests.support import RunningLab, lab

AddTool = Callable[[str, str], None]

#: Reboots of both hosts together. `make lab-reboots` and `make test-all` do more.
REBOOTS = int(os.environ.get("REBOOTS", "4"))
_HOSTS = ("host1", "host2")


#: Runs in front of the real `ip`: the given commands fail as often as the file says, each after
#: `before` was done: as if the kernel had been faster.
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


class FailingIp:
    """Replaces the machine's `ip` for programs that have its directory first in PATH."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.counter = directory / "failures"
        self.fails("none", 0)

    def fails(self, pattern: str, times: int, before: str = "") -> None:
        """Let commands that match a shell pattern fail *times* times, each after *before*."""
        self.counter.write_text(f"{times}\n")
        script = _FAILING_IP.format(pattern=pattern, counter=self.counter, before=before)
        new = self.directory / "new"
        new.write_text(f"#!/bin/sh\n{script}\n")
        new.chmod(0o755)
        new.rename(self.directory / "ip")  # a shell may be reading the one that is there

    @property
    def left(self) -> int:
        """How many failures have not happened yet."""
        return int(self.counter.read_text())


@pytest.fixture(scope="module")
def ip(tmp_path_factory: pytest.TempPathFactory) -> FailingIp:
    return FailingIp(tmp_path_factory.mktemp("ip"))


@pytest.fixture(scope="module")
def there(ip: FailingIp) -> Iterator[LabPaths]:
    """Two hosts that need not stay as they are, in a lab with that `ip`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{ip.directory}:{os.environ['PATH']}")
        paths = lifecycle.up(f"r{os.getpid() % 10000000}", 2, ["12", "13"])
    yield paths
    lifecycle.down(paths)


def boots(there: LabPaths) -> list[int]:
    state = json.loads(there.state.read_text())["hosts"]
    return [state[host]["boots"] for host in _HOSTS]


@pytest.fixture
def load() -> Iterator[None]:
    """One process for each processor, computing all the time."""
    busy = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(dies_with_me(busy)) for _ in range(os.cpu_count() or 1)]
    yield
    for process in processes:
        process.kill()
        process.wait()


def test_reboots_of_two_hosts_under_load(there: LabPaths, load: None) -> None:
    name, booted = there.name, boots(there)

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
    assert boots(there) == [before + REBOOTS // 2 for before in booted]


#: A command of a reboot, and what is done before it fails.
_STEPS = {
    "port": ("'link delete port0'|'link show'*", '"$ip" "$@"'),  # gone between look and act
    "netns delete": ("'netns delete '*", ""),
    "netns add": ("'netns add '*", ""),
    "netns add, done": ("'netns add '*", '"$ip" "$@"'),
    "batch": ("*-batch*", ""),
    "batch, done": ("*-batch*", '"$ip" "$@"'),
}
#: One that removes, one that adds, one of many commands; make test-all takes them all.
_SOME = ("port", "netns add, done", "batch")


@pytest.mark.parametrize(
    "step",
    [pytest.param(step, marks=() if step in _SOME else pytest.mark.exhaustive) for step in _STEPS],
)
def test_a_step_that_fails_is_repeated(there: LabPaths, ip: FailingIp, step: str) -> None:
    pattern, before = _STEPS[step]
    ip.fails(pattern, 1, before)
    status, output = lab("host", there.name, "reboot", "host1")
    assert status == 0, output
    assert ip.left == 0
    assert lab("status", there.name)[0] == 0


def test_a_host_that_cannot_be_rebooted_fails_alone(there: LabPaths, ip: FailingIp) -> None:
    """The last test with this lab: host1 stays down."""
    ip.fails("'netns add '*", 100000)

    status, output = lab("host", there.name, "reboot", "host1")

    assert status == 1
    assert "host1 cannot be rebooted: LabError: `ip netns add host1`" in output
    assert "Cannot find device (tried 6 times)" in output
    status, output = lab("status", there.name)
    assert status == 1
    assert "host1        reboot failed: LabError: `ip netns add host1`" in output
    assert "host2        running" in output
    ip.fails("none", 0)
    assert lab("host", there.name, "reboot", "host2")[0] == 0
    assert RunningLab(there).on("host2", "hostname") == "host2"


class FakeHost:
    """A host whose boots end at once, each with its status; after the last one it runs."""

    spec = HostSpec("fake", 99, "12", Path())
    boot_again = REBOOT_STATUS

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
        ([REBOOT_STATUS, *[1] * 20], False, "its process ended with status 1 (tried 6 times)"),
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
    done = False
    while not done:  # as the supervisor does
        if host.process.returncode is None and not host.runs:
            os.waitid(os.P_PID, host.process.pid, os.WEXITED | os.WNOWAIT)
            assert fleet.note_end(host.process.pid)
        time.sleep(fleet.pause() or 0)
        done = not fleet.boot_due() and (host.runs or host.process.returncode is not None)
    assert (host.runs, fleet.state()["fake"]["failed"]) == (runs, failed)
    host.process.kill()
    host.process.wait()
