"""Outbound only: every listening socket is on loopback."""

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
        # QUIC: one socket for each connection to the edge, connected to nobody (docs/deployment.md)
        and not (line.split()[:2] == ["udp", "UNCONN"] and '"cloudflared"' in line)
    ]
    assert outside == []


def test_the_three_ports_are_ours(host: Host) -> None:
    lines = host.check_output("ss -Hltn").splitlines()
    listening = {line.split()[3] for line in lines}
    assert {"127.0.0.1:8080", "127.0.0.1:8081", "127.0.0.1:20241"} <= listening


def test_nobody_gets_the_proxys_ports_while_it_is_away(host: Host) -> None:
    """The ports belong to the socket unit: a local user finds them taken even without the proxy."""
    take = (
        "import socket\n"
        "for port in (8080, 8081):\n"
        "    try:\n"
        "        socket.create_server(('127.0.0.1', port)).close()\n"
        "    except OSError as error:\n"
        "        print(port, error.errno)\n"
    )
    # Nobody connects meanwhile: a connection would start it again.
    host.check_output("systemctl stop mcp-cloudflared@default mcp-proxy@default")
    try:
        taken = host.check_output("setpriv --reuid 65534 --clear-groups python3 -c %s", take)
    finally:
        host.check_output("systemctl start mcp-proxy@default mcp-cloudflared@default")
    assert taken.splitlines() == ["8080 98", "8081 98"]
