"""Control groups of version 2: what the units promise is what the kernel enforces."""

from __future__ import annotations

import re

import pytest

from lab.network.addresses import INTERNET_V4, UPSTREAM_V4
from tests.machines.deployed import CONNECTOR, PROXY, Deployed, cgroup

pytestmark = pytest.mark.exhaustive

UNITS = pytest.mark.parametrize("unit", [PROXY, CONNECTOR])

#: Takes memory page by page, up to 64 MiB more than the group may have. Beyond the limit the kernel
#: ends it, or, of the whole group, another process, if that has more.
_TAKE_MEMORY = """
import mmap
limit = int(open(r"/sys/fs/cgroup{group}/memory.max").read())
taken = mmap.mmap(-1, limit + (64 << 20))
for page in range(0, len(taken), mmap.PAGESIZE):
    taken[page] = 1
print("took", len(taken))
"""

#: Makes processes until it may not, or has made many more than the group may have.
_MAKE_PROCESSES = """
import os, signal
limit = int(open(r"/sys/fs/cgroup{group}/pids.max").read())
made = []
try:
    while len(made) < limit + 50:
        child = os.fork()
        if not child:
            signal.pause()
        made.append(child)
    print("no limit")
except BlockingIOError:
    print("refused", len(made) <= limit)
finally:
    for child in made:
        os.kill(child, signal.SIGKILL)
"""

#: A datagram, because connect() would go on trying in silence.
_SEND = """
import socket
try:
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"?", ("{address}", 9000))
    print("sent")
except PermissionError:
    print("refused")
"""


def _group(deployed: Deployed, host: str, unit: str) -> str:
    return deployed.root(host, f"systemctl show --value --property=ControlGroup {unit}")


def _event(deployed: Deployed, host: str, unit: str, file: str, event: str) -> int:
    found = re.search(rf"^{event} (\d+)$", deployed.root(host, f"cat {cgroup(unit)}/{file}"), re.M)
    assert found
    return int(found[1])


def test_machines_have_a_kernel_of_their_own_and_version_2_alone(deployed: Deployed) -> None:
    for host in deployed.hosts:
        assert "cloud-amd64" in deployed.root(host, "uname -r")
        assert deployed.root(host, "stat -fc %T /sys/fs/cgroup") == "cgroup2fs"
        assert deployed.root(host, "systemd-detect-virt --container || :") == "none"


def test_a_tool_call_goes_through_every_machine(deployed: Deployed) -> None:
    for host in deployed.hosts:
        deployed.lab("edge", "pin", host)
        deployed.call(f"by way of {host}")
    deployed.lab("edge", "unpin")


@UNITS
def test_memory_max(deployed: Deployed, unit: str) -> None:
    """The kernel ends what takes too much, and the service is there afterwards."""
    for host in deployed.hosts:
        group = _group(deployed, host, unit)
        before = _event(deployed, host, unit, "memory.events", "oom_kill")
        script = _TAKE_MEMORY.format(group=group)
        status, output = deployed.tried(
            host,
            f"echo $$ >{cgroup(unit)}/cgroup.procs\nexec python3 - <<'SCRIPT'\n{script}\nSCRIPT\n",
        )
        assert status != 0, output
        assert "took" not in output
        deployed.root(
            host, f"timeout 120 sh -c 'until systemctl -q is-active {unit}; do sleep 1; done'"
        )
        assert "oom" in deployed.root(host, "journalctl -k -b -g 'oom-kill:.*" + unit + "'")
        if unit == PROXY:  # of which the kernel ends one process only
            assert _event(deployed, host, unit, "memory.events", "oom_kill") == before + 1


@UNITS
def test_tasks_max(deployed: Deployed, unit: str) -> None:
    for host in deployed.hosts:
        script = _MAKE_PROCESSES.format(group=_group(deployed, host, unit))
        assert deployed.python(host, script, unit) == "refused True"


@UNITS
def test_ip_address_deny(deployed: Deployed, unit: str) -> None:
    """Root is outside of the firewall's rules for the services: the unit's own wall is alone."""
    allowed = {PROXY: UPSTREAM_V4, CONNECTOR: "198.41.192.7"}[unit]
    for host in deployed.hosts:
        assert deployed.python(host, _SEND.format(address=INTERNET_V4)) == "sent"
        assert deployed.python(host, _SEND.format(address=INTERNET_V4), unit) == "refused"
        assert deployed.python(host, _SEND.format(address=allowed), unit) == "sent"


def test_verify_has_nothing_left_to_prove(deployed: Deployed) -> None:
    output = " ".join(deployed.play(playbook="verify").split())
    walled = f"IPAddressDeny= ok enforced for {PROXY} and {CONNECTOR}"
    assert output.count(walled) == len(deployed.hosts), output[-6000:]
    assert "not proven" not in output
