"""What befalls a real machine: its power is cut, its disk is full, its clock jumps."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from lab.supervision import lifecycle
from tests.machines.deployed import CONNECTOR, PROXY, RELEASE, Deployed, changed_lines

pytestmark = pytest.mark.exhaustive

#: Changes of a first deployment after which the power is cut, during the next task. Each run goes
#: on where the one before was: with more numbers, the later ones come to the last tasks.
CUTS = tuple(int(n) for n in os.environ.get("CUTS", "2,3").split(","))

_RELEASES = "/opt/mcp-tunnel"
#: All that a run has made, but not what the host itself writes all the time.
_OURS = f"{_RELEASES} /etc/mcp-tunnel /var/lib/mcp-tunnel /etc/systemd/system"


@pytest.fixture
def another() -> Iterator[Deployed]:
    """One more machine, to which nothing was done yet."""
    paths = lifecycle.up(f"c{os.getpid() % 10000000}", 1, [RELEASE], machines=True)
    yield Deployed(paths)
    lifecycle.down(paths)


def _digest_of_releases(deployed: Deployed, host: str) -> str:
    """The content of all files that a release brought; those that are compiled are not."""
    files = f"cd {_RELEASES} && find . -type f ! -name '*.pyc' | LC_ALL=C sort"
    return deployed.root(host, f"{files} | xargs sha256sum | sha256sum")


def test_power_cuts_in_a_deployment(another: Deployed, deployed: Deployed) -> None:
    """The next run completes, and no file is half-written: they are those of a run without cuts."""
    (host,) = another.hosts
    another.root(host, "echo kept >/root/flushed && sync /root/flushed")
    another.lab("host", "cut", host)
    assert another.root(host, "cat /root/flushed") == "kept"

    interrupted = 0
    for changes in CUTS:
        run = another.start()
        lines = changed_lines(run, changes)
        if run.poll() is not None:
            break
        another.lab("host", "cut", host)
        rest, _ = run.communicate(timeout=600)
        print("".join(lines[-2:]), rest[-300:])
        interrupted += run.returncode != 0
    assert interrupted
    another.play()

    another.call("after the cuts")
    assert another.root(host, f"find {_OURS} -name '*.tmp*'") == ""
    assert another.root(host, f"find {_OURS} -name '*.pyc' -size 0") == ""
    assert _digest_of_releases(another, host) == _digest_of_releases(deployed, deployed.hosts[-1])
    assert "changed=0" in another.play().rsplit("PLAY RECAP", 1)[1]


def test_a_full_disk_costs_a_run_and_no_call(deployed: Deployed) -> None:
    host = deployed.hosts[0]
    changed = ("-e", '{"proxy_limits": {"max_streams": 61}}')
    deployed.lab("edge", "pin", host)
    # Space is reserved without being written, which takes minutes; root's share of it is written.
    deployed.root(host, "fallocate -l $(df --output=avail -B1 / | tail -1) /var/full; true")
    deployed.root(host, "dd if=/dev/zero bs=1M >>/var/full 2>/dev/null; sync; true")
    try:
        assert deployed.root(host, "df --output=avail / | tail -1").strip() == "0"
        run = deployed.start(*changed)
        output, _ = run.communicate(timeout=3600)
        assert run.returncode != 0
        assert "No space left on device" in output, output[-3000:]
        deployed.call("with a full disk")
    finally:
        deployed.root(host, "rm /var/full")
    deployed.play(*changed)
    deployed.call("with room again")
    deployed.lab("edge", "unpin")


@pytest.mark.parametrize("jump", ["3 hours", "5 hours ago"])
def test_a_clock_that_jumps_ends_nothing(deployed: Deployed, jump: str) -> None:
    host = deployed.hosts[0]
    deployed.lab("edge", "pin", host)
    restarts = f"systemctl show --value --property=NRestarts {PROXY} {CONNECTOR}"
    before = deployed.root(host, restarts)
    deployed.root(host, f"date --set '{jump}'")
    try:
        deployed.call(f"after a jump of {jump}")
        assert deployed.root(host, restarts) == before
        assert deployed.root(host, f"systemctl is-active {PROXY} {CONNECTOR}") == "active\nactive"
    finally:
        deployed.root(host, "date --set @$(cat /sys/class/rtc/rtc0/since_epoch)")
        deployed.lab("edge", "unpin")
