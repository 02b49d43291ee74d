"""SELinux, enforcing, with Debian's policy, during a whole life cycle.

The policy logs no denial of anything of ours, and no file has another label than the policy's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest

from lab.supervision import lifecycle
from tests.machines.deployed import CONNECTOR, PROXY, RELEASE, Deployed

pytestmark = pytest.mark.exhaustive

_PACKAGES = ("auditd", "selinux-basics", "selinux-policy-default")
#: Of all boots since the audit daemon was switched on. Without any, ausearch(8) fails.
_DENIALS = "ausearch --input-logs -m AVC,USER_AVC,SELINUX_ERR,USER_SELINUX_ERR || :"
#: Root may do all but become anything.
_DENIED = "! runcon -t ping_t true"
#: The library with which nft prints JSON: it wants a seed, and takes the time when it gets none.
_DOES_WITHOUT = re.compile(r'denied  \{ read \} .* comm="nft" name="urandom" ')
_DUE = ("-e", "mcp_tunnel_cert_duration=4000h", "-e", "mcp_tunnel_cert_renew_before=3000h")
_WRONG_LABELS = "restorecon -Rnv /etc /opt /usr /var"


@pytest.fixture(scope="module")
def enforcing() -> Iterator[Deployed]:
    """A machine as an administrator of SELinux has it; nothing was deployed yet."""
    paths = lifecycle.up(f"s{os.getpid() % 10000000}", 1, [RELEASE], _PACKAGES, machines=True)
    try:
        machine = Deployed(paths)
        (host,) = machine.hosts
        machine.root(host, "systemctl enable --now auditd; selinux-config-enforcing; setenforce 1")
        yield machine
    finally:
        lifecycle.down(paths)


def _denials(machine: Deployed, host: str) -> list[str]:
    lines = machine.root(host, _DENIALS).splitlines()
    denials = [line for line in lines if re.match(r"type=(USER_)?(AVC|SELINUX_ERR) ", line)]
    return [line for line in denials if not _DOES_WITHOUT.search(line)]


def test_a_life_cycle(enforcing: Deployed) -> None:
    machine = enforcing
    (host,) = machine.hosts
    assert machine.root(host, _WRONG_LABELS) == ""

    machine.play()
    machine.call("under SELinux")
    assert machine.root(host, _WRONG_LABELS) == ""
    assert "changed=0" in machine.play().rsplit("PLAY RECAP", 1)[1]
    machine.play(*_DUE, playbook="renew_cert")
    machine.lab("host", "reboot", host)
    assert machine.root(host, "getenforce") == "Enforcing"
    machine.call("after a boot")
    for unit in (PROXY, CONNECTOR):  # the domain of a service, not systemd's
        label = f"cat /proc/$(systemctl show --value --property=MainPID {unit})/attr/current"
        assert ":initrc_t:" in machine.root(host, label)
    machine.play(playbook="verify")
    assert machine.root(host, _WRONG_LABELS) == ""
    machine.play("-e", "mcp_tunnel_teardown_confirmed=true", playbook="teardown")
    assert machine.root(host, _WRONG_LABELS) == ""

    assert _denials(machine, host) == []
    machine.root(host, _DENIED)
    assert all('comm="runcon"' in line for line in _denials(machine, host))
    assert _denials(machine, host)
