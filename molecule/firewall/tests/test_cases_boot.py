"""A boot: the rules are there before what they protect, and what they protect not without them."""

from __future__ import annotations

import subprocess
import time

from replicas import RUN, shell
from rules import RULES, SERVICES, UNIT, table
from testinfra.host import Host

SECONDS_TO_BOOT = 240  # at most; the machine may be busy
# PID 1 of this boot: when it was started (clock ticks).
BOOT = "cut -d ' ' -f 22 /proc/1/stat"


def moment(host: Host, unit: str, what: str) -> int:
    """When something happened to a unit in this boot: microseconds, 0 if it did not."""
    shown = host.check_output(f"systemctl show --property={what}TimestampMonotonic --value {unit}")
    return int(shown or 0)


def rebooted(name: str) -> Host:
    """Reboot a host; return its shell when everything has been started that will be."""
    before = said(name, BOOT)
    said(name, "sudo systemctl reboot")
    deadline = time.monotonic() + SECONDS_TO_BOOT
    while True:
        there = said(name, f"systemctl is-system-running --wait; {BOOT}")
        if there and there[0] in {"running", "degraded"} and there[1:] != before:
            return shell(name)
        assert time.monotonic() < deadline, there
        time.sleep(0.2)


def said(name: str, command: str) -> list[str]:
    """The words of a command's output; none while the host cannot be reached."""
    ssh = ("ssh", "-F", str(RUN / "ssh_config"), name, command)
    # ssh would leave the terminal, or whatever is the standard input, non-blocking.
    nothing = subprocess.DEVNULL
    done = subprocess.run(ssh, stdin=nothing, capture_output=True, text=True, check=False)
    return done.stdout.split()


def test_the_rules_come_first(name: str) -> None:
    """With the distribution's own service in the same boot, which empties the ruleset."""
    before = table(shell(name))
    shell(name).check_output("systemctl enable nftables")
    try:
        host = rebooted(name)
        assert table(host) == before
        loaded = moment(host, UNIT, "ActiveEnter")
        assert 0 < moment(host, "nftables", "ActiveEnter") < loaded
        for service in ("ssh", *SERVICES):
            assert loaded < moment(host, service, "ExecMainStart"), service
    finally:
        shell(name).check_output("systemctl disable nftables && systemctl stop nftables")
    assert table(host) == before


def test_no_rules_no_services(name: str) -> None:
    before = table(shell(name))
    shell(name).check_output(f"cp {RULES} /root/rules && echo 'table inet {{' >> {RULES}")
    try:
        host = rebooted(name)
        assert host.run(f"systemctl is-failed {UNIT}").rc == 0
        assert "mcp_tunnel" not in host.check_output("nft list tables")
        for service in SERVICES:
            assert moment(host, service, "ExecMainStart") == 0, service
            assert host.run(f"systemctl start {service}").rc != 0
    finally:
        shell(name).check_output(f"cp /root/rules {RULES} && rm /root/rules")
    # As an operator would go on.
    host.check_output(f"systemctl start {' '.join(SERVICES)}")
    assert table(host) == before
