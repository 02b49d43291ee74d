"""What befalls a real machine: its disk is full, its clock jumps."""

from __future__ import annotations

import pytest

from tests.machines.deployed import CONNECTOR, PROXY, Deployed

pytestmark = pytest.mark.exhaustive


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
