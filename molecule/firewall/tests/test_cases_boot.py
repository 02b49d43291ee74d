"""A boot: the rules come before the services that they protect, which do not run without them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

import journal
import pytest
from replicas import HOSTS, RUN, shell
from rules import RULES, SERVICES, UNIT, table
from testinfra.host import Host
from trials import write

SECONDS_TO_BOOT = 240  # at most; the machine may be busy
# The start time of this boot's PID 1 (clock ticks).
BOOT = "cut -d ' ' -f 22 /proc/1/stat"
#: nftables.service as RHEL 9 orders it: an ordinary service, which starts after all early ones.
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
#: This path takes precedence over the distribution's own unit.
ORDINARY_UNIT = "/etc/systemd/system/nftables.service"


def moment(host: Host, unit: str, what: str) -> int:
    """Return when something happened to a unit in this boot: microseconds, 0 if it did not."""
    shown = host.check_output(f"systemctl show --property={what}TimestampMonotonic --value {unit}")
    return int(shown or 0)


def rebooted(name: str) -> Host:
    """Reboot a host; return its shell when every unit that will start has been started."""
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
    """Return the words of a command's output; none while the host cannot be reached."""
    ssh = ("ssh", "-F", str(RUN / "ssh_config"), name, command)
    # ssh would leave its standard input, such as the terminal, non-blocking.
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
    """Such a boot loses no job of ours, and the rules that the other service removed are back."""
    before = table(shell(nftables))
    host = rebooted(nftables)
    assert table(host) == before
    loaded, again = (moment(host, unit, "ActiveEnter") for unit in (UNIT, "nftables"))
    assert 0 < loaded < again
    assert loaded < moment(host, "ssh", "ExecMainStart")
    for service in SERVICES:
        assert again < moment(host, service, "ExecMainStart"), service


#: Makes our file unreadable for nft before the distribution's service empties the ruleset.
SPOILED = f"""[Service]
ExecStartPre=+/bin/sh -c "echo 'table inet {{' >>{RULES}"
"""
SPOILING = "/etc/systemd/system/nftables.service.d/a-spoiled.conf"
# The jobs that nftables.service has queued go on without it. A service that came back meanwhile was
# killed again: it waits for its restart (RestartSec=), which the unit of the rules then refuses.
SETTLED = (
    'timeout 240 sh -c \'while [ -n "$(systemctl list-jobs --no-legend)" ] ||'
    f" systemctl is-active {' '.join(SERVICES)} | grep -qx activating; do sleep 0.1; done'"
)


def without_rules(host: Host) -> None:
    """Assert that no table and no process of a service is there, and that none is about to come."""
    assert "mcp_tunnel" not in host.check_output("nft list tables")
    assert host.run(f"systemctl is-failed {UNIT}").rc == 0
    for service in SERVICES:
        assert host.run(f"systemctl is-active {service}").stdout.strip() in {"inactive", "failed"}
        assert "MainPID=0" in host.check_output(f"systemctl show --property=MainPID {service}")
    log = journal.read(host, "--boot", "--unit=nftables", "--priority=crit")
    assert "No rules, no service" in log


def test_rules_that_are_lost_at_boot_keep_the_services_back(nftables: str) -> None:
    """They were loaded, and the other service removed them: no service has been started since."""
    before = table(shell(nftables))
    write(shell(nftables), SPOILING, SPOILED)
    shell(nftables).check_output(f"cp {RULES} /root/rules")
    try:
        host = rebooted(nftables)
        without_rules(host)
        for service in SERVICES:
            assert moment(host, service, "ExecMainStart") == 0, service
    finally:
        mended = f"mv /root/rules {RULES}; rm {SPOILING}; systemctl daemon-reload"
        shell(nftables).check_output(mended)
    host.check_output(f"systemctl start {' '.join(SERVICES)}")
    assert table(host) == before


@pytest.mark.parametrize(("name", "verb"), [(HOSTS[0], "reload"), (HOSTS[1], "stop")])
def test_rules_that_are_lost_end_the_services(name: str, verb: str) -> None:
    host = shell(name)
    before = table(host)
    host.check_output("systemctl start nftables")
    assert table(host) == before
    try:
        host.check_output(f"cp {RULES} /root/rules && echo 'table inet {{' >>{RULES}")
        host.check_output(f"systemctl {verb} nftables")
        host.check_output(SETTLED)
        without_rules(host)
    finally:
        host.check_output(f"mv /root/rules {RULES}")
        host.check_output(f"systemctl start {' '.join(SERVICES)} && systemctl stop nftables")
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
    # An operator would go on like this.
    host.check_output(f"systemctl start {' '.join(SERVICES)}")
    assert table(host) == before
