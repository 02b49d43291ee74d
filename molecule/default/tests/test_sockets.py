"""Outbound only: what listens, listens on loopback."""

from __future__ import annotations

from testinfra.host import Host


def test_only_ssh_listens_beyond_loopback(host: Host) -> None:
    lines = host.check_output("ss -Hltunp").splitlines()
    outside = [
        line
        for line in lines
        if not line.split()[4].startswith(("127.", "[::1]"))
        and '"sshd"' not in line
        # systemd opens SSH's socket itself on Debian 13
        and not ('"systemd"' in line and line.split()[4].endswith(":22"))
    ]
    assert outside == []


def test_the_three_ports_are_ours(host: Host) -> None:
    lines = host.check_output("ss -Hltn").splitlines()
    listening = {line.split()[3] for line in lines}
    assert {"127.0.0.1:8080", "127.0.0.1:8081", "127.0.0.1:20241"} <= listening
