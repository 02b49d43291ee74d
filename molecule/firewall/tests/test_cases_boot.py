"""A boot: the rules are there before what they protect, and what they protect not without them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

import pytest
from replicas import HOSTS, RUN, shell
from rules import RULES, SERVICES, UNIT, table
from testinfra.host import Host
from trials import write

SECONDS_TO_BOOT = 240  # at most; the machine may be busy
# PID 1 of this boot: when it was started (clock ticks).
BOOT = "cut -d ' ' -f 22 /proc/1/stat"
#: nftables.service as RHEL 9 orders it: an ordinary service, which starts after all that is early.
ORDINARY = """[Unit]
Wants=network-pre.target
Before=network-pre.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/nft -f /etc/nftables.conf
ExecStop=/usr/sbin/nft flush ruleset
[Install]
WantedBy=multi-user.target
"""
#: Takes the place of the distribution's own.
ORDINARY_UNIT = "/etc/systemd/system/nftables.service"


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


@pytest.fixture
def nftables(name: str) -> Iterator[str]:
    """A host where a service that empties the ruleset starts at boot: Debian's, or RHEL's."""
    host = shell(name)
    if name == HOSTS[0]:
        write(host, ORDINARY_UNIT, ORDINARY)
    host.check_output("systemctl daemon-reload && systemctl enable nftables")
    yield name
    shell(name).check_output(
        f"systemctl disable nftables && systemctl stop nftables && rm -f {ORDINARY_UNIT}"
        " && systemctl daemon-reload"
    )


def test_rules_and_services_are_there_beside_nftables(nftables: str) -> None:
    """No job of ours is lost in such a boot, and what the other service took away is back."""
    before = table(shell(nftables))
    host = rebooted(nftables)
    assert table(host) == before
    loaded, again = (moment(host, unit, "ActiveEnter") for unit in (UNIT, "nftables"))
    assert 0 < loaded < again
    assert loaded < moment(host, "ssh", "ExecMainStart")
    for service in SERVICES:
        assert again < moment(host, service, "ExecMainStart"), service


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
