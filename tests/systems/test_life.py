"""The life of replicas with each release: the tests build on each other, in this order."""

from __future__ import annotations

import re

import pytest

from lab.hosts.rootfs import SUITES
from tests.machines.deployed import CONNECTOR, PROXY, Deployed

from .releases import RELEASES

pytestmark = pytest.mark.exhaustive

#: Seconds: emulated, and on a busy machine, the connector alone needs minutes to start.
_PATIENT = ("-e", "mcp_tunnel_health_timeout=900")
_STORED = "cat /etc/mcp-tunnel/default/tls/tls.crt"
_CA = "cat /etc/mcp-tunnel/default/ca.crt"
_DUE = ("-e", "mcp_tunnel_cert_duration=4000h", "-e", "mcp_tunnel_cert_renew_before=3000h")
_CONFIRMED = ("-e", "mcp_tunnel_teardown_confirmed=true", "-e", "mcp_tunnel_archive=true")


def changes(output: str) -> int:
    """The number of changes on all hosts, by the recap of a run."""
    counted = re.findall(r"(?m)^host\d+ .*\bchanged=(\d+)", output)
    assert counted
    return sum(map(int, counted))


def play(deployed: Deployed, *arguments: str, playbook: str = "site") -> str:
    """Run a playbook, which succeeds however slow the hosts are, and return its output."""
    return deployed.play(*_PATIENT, *arguments, playbook=playbook)


def call_by_way_of_each(deployed: Deployed) -> None:
    """Assert that each replica carries a call of a real MCP client to a tool."""
    for host in deployed.hosts:
        deployed.lab("edge", "pin", host)
        deployed.call(f"by way of {host}")
    deployed.lab("edge", "unpin")


def test_the_hosts_have_that_release(deployed: Deployed, release: str) -> None:
    for host in deployed.hosts:
        codename = deployed.root(host, '. /etc/os-release; echo "$VERSION_CODENAME"')
        assert codename == SUITES[release]
        if RELEASES[release].machines:
            assert deployed.root(host, "stat -fc %T /sys/fs/cgroup") == "cgroup2fs"


def test_bare_hosts_become_replicas(deployed: Deployed) -> None:
    assert changes(play(deployed)) > 0
    call_by_way_of_each(deployed)


def test_a_second_run_changes_nothing(deployed: Deployed) -> None:
    assert changes(play(deployed)) == 0


def test_systemd_still_holds_each_listener_of_the_proxy(deployed: Deployed) -> None:
    """Else who waits in its queue while the proxy restarts is cut off."""
    for host in deployed.hosts:
        listeners = deployed.root(host, "ss -Hltnp '( sport = :8080 or sport = :8081 )'")
        assert len(listeners.splitlines()) >= 2
        assert all('"systemd",pid=1' in line for line in listeners.splitlines()), listeners


def test_verify_proves_what_the_kernel_can_show(deployed: Deployed, release: str) -> None:
    output = play(deployed, playbook="verify")
    assert changes(output) == 0
    unproven = re.findall(r"(?m)^.*\bnot proven\b.*$", output)
    # Containers have the kernel of the machine that tests.
    if RELEASES[release].machines:
        assert unproven == []
    else:
        assert all("IPAddressDeny=" in line for line in unproven), unproven


def test_the_workers_of_the_proxy_share_the_key_of_session_tickets(deployed: Deployed) -> None:
    for host in deployed.hosts:
        said = deployed.root(host, f"journalctl --unit={PROXY} --output=cat")
        assert "session tickets" not in said


def test_a_renewal_restarts_nothing(deployed: Deployed) -> None:
    services = f"systemctl show --property=MainPID,NRestarts {PROXY} {CONNECTOR}"
    before = {host: deployed.root(host, services) for host in deployed.hosts}
    stored = {host: deployed.root(host, _STORED) for host in deployed.hosts}
    play(deployed, *_DUE, playbook="renew_cert")
    for host in deployed.hosts:
        assert deployed.root(host, _STORED) != stored[host]
    assert {host: deployed.root(host, services) for host in deployed.hosts} == before
    call_by_way_of_each(deployed)


def test_a_rotation_of_the_ca(deployed: Deployed) -> None:
    old = deployed.root("host1", _CA)
    play(deployed, *_DUE, playbook="rotate_ca")
    for host in deployed.hosts:
        assert deployed.root(host, _CA) != old
    call_by_way_of_each(deployed)


def test_a_teardown_leaves_nothing(deployed: Deployed) -> None:
    assert changes(play(deployed, *_CONFIRMED, playbook="teardown")) > 0
    for host in deployed.hosts:
        left = 'find /etc /opt /run /usr/local -xdev -path "*mcp-tunnel*"'
        assert deployed.root(host, left) == ""
        rules = deployed.root(host, "nft list ruleset")
        assert "mcp_tunnel" not in rules
