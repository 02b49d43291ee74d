"""Resolvers of two kinds, see prepare.yml: a stub on loopback, and one that has only IPv6."""

from __future__ import annotations

import pytest
from replicas import HOSTS
from testinfra.host import Host

OWN = dict(zip(HOSTS, ("127.0.0.53", "fd77::1"), strict=True))
#: The laboratory gives its hosts this one; neither of these hosts asks it.
OTHER = "10.77.0.1"
CONNECT = f"python3 -c \"import socket; socket.create_connection(('{OTHER}', 53), 60)\""


@pytest.mark.parametrize("user", ["mcp-cloudflared", "mcp-proxy"])
def test_a_service_asks_the_hosts_resolver_and_no_other(name: str, host: Host, user: str) -> None:
    assert host.file("/etc/resolv.conf").content_string == f"nameserver {OWN[name]}\n"
    become = f"setpriv --reuid {user} --clear-groups"
    found = host.check_output(f"{become} getent ahostsv4 region1.v2.argotunnel.com")
    assert "198.41.192.7 " in found
    host.check_output(CONNECT)
    assert "ConnectionRefusedError" in host.run(f"{become} {CONNECT}").stderr


def test_the_unit_lets_it_through(name: str, host: Host) -> None:
    for unit in ("mcp-cloudflared@default", "mcp-proxy@default"):
        shown = host.check_output(f"systemctl show --property=IPAddressAllow {unit}")
        allowed = shown.partition("=")[2].split()
        assert {"127.0.0.0/8", f"{OWN[name]}/128"} & set(allowed), allowed
        assert OTHER not in shown
