"""A replica on a machine with an ARM processor, from a bare system to the teardown."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from lab.supervision import lifecycle
from tests.machines.deployed import CONNECTOR, PROXY, RELEASE, Deployed

pytestmark = pytest.mark.exhaustive

_ARCHITECTURE = "aarch64"
#: The architecture of each compiled module in what the host runs: `e_machine` in its ELF header.
_COMPILED = "find -L /opt/mcp-tunnel/proxy/current -name '*.so' -exec od -An -tu2 -j18 -N2 '{}' ';'"
_EM_AARCH64 = "183"
#: Seconds that a replica may take until it works: an emulated connector starts for minutes.
_SLOW = ("-e", "mcp_tunnel_health_timeout=900")
_LEFT = "find /etc /opt /run /usr/local -xdev -path '*mcp-tunnel*'"


@pytest.fixture
def machine() -> Iterator[Deployed]:
    """A machine that nothing was deployed to yet."""
    name = f"a{os.getpid() % 10000000}"
    paths = lifecycle.up(name, 1, [RELEASE], machines=True, architecture=_ARCHITECTURE)
    try:
        yield Deployed(paths)
    finally:
        lifecycle.down(paths)


def test_a_life_cycle(machine: Deployed) -> None:
    (host,) = machine.hosts
    assert machine.root(host, "uname -m") == _ARCHITECTURE
    machine.play(*_SLOW)
    machine.call("on ARM")
    assert set(machine.root(host, _COMPILED).split()) == {_EM_AARCH64}
    assert "changed=0" in machine.play(*_SLOW).rsplit("PLAY RECAP", 1)[1]
    machine.lab("host", "reboot", host)
    assert machine.root(host, f"systemctl is-active {PROXY} {CONNECTOR}") == "active\nactive"
    machine.play(*_SLOW, playbook="verify")  # which waits for the connector
    machine.call("after a boot")
    machine.play("-e", "mcp_tunnel_teardown_confirmed=true", playbook="teardown")
    assert machine.root(host, _LEFT) == ""
