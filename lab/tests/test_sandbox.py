"""The lab's hosts enforce the sandbox settings of units, as a real machine does.

A scenario that proves a unit's hardening here relies on it. (Not enforced on a machine with
cgroup v1: MemoryMax, TasksMax, IPAddressDeny; no scenario may rely on those.)
"""

from __future__ import annotations

import pytest

from lab.tests.support import RunningLab

#: Unit properties -> shell command that the sandbox must refuse, and that works without it.
SANDBOXES = [
    pytest.param("ProtectSystem=strict", "touch /opt/x", id="ProtectSystem"),
    pytest.param("ProtectHome=yes", "ls /home/ops/.ssh", id="ProtectHome"),
    pytest.param("PrivateTmp=yes", "test -e /tmp/planted", id="PrivateTmp"),
    pytest.param(
        "RestrictAddressFamilies=AF_UNIX",
        "python3 -c 'import socket; socket.socket(socket.AF_INET)'",
        id="RestrictAddressFamilies",
    ),
    pytest.param("SystemCallFilter=~@chown", "chown root /tmp/planted", id="SystemCallFilter"),
    pytest.param(
        "MemoryDenyWriteExecute=yes",
        "python3 -c 'import mmap; mmap.mmap(-1, 4096, prot=7)'",
        id="MemoryDenyWriteExecute",
    ),
    pytest.param("PrivateNetwork=yes", "ip link show eth0", id="PrivateNetwork"),
    pytest.param("RestrictNamespaces=yes", "unshare --net true", id="RestrictNamespaces"),
    pytest.param("CapabilityBoundingSet=CAP_CHOWN", "nft list ruleset", id="CapabilityBoundingSet"),
    pytest.param("PrivateUsers=yes", "nft add table inet private_users", id="PrivateUsers"),
    pytest.param("NoNewPrivileges=yes User=ops", "sudo -n true", id="NoNewPrivileges"),
    pytest.param("ProtectProc=invisible User=ops", "test -e /proc/1/stat", id="ProtectProc"),
    pytest.param("LimitNOFILE=64", "sh -c 'ulimit -n 128'", id="LimitNOFILE"),
]


def outcome(lab: RunningLab, host: str, properties: str, command: str) -> str:
    asked = " ".join(f"-p {each}" for each in properties.split())
    quoted = command.replace('"', '\\"')
    return lab.on(
        host,
        f'sudo touch /tmp/planted; sudo systemd-run -q --wait --pipe {asked} sh -c "{quoted}" '
        ">/dev/null 2>&1 && echo done || echo refused",
    )


@pytest.mark.parametrize("host", ["host1", "host2"])
@pytest.mark.parametrize(("properties", "command"), SANDBOXES)
def test_is_enforced(two: RunningLab, host: str, properties: str, command: str) -> None:
    user = " ".join(each for each in properties.split() if each.startswith("User="))
    assert outcome(two, host, user, command) == "done"
    assert outcome(two, host, properties, command) == "refused"


@pytest.mark.parametrize("host", ["host1", "host2"])
def test_credentials_reach_the_service_only(two: RunningLab, host: str) -> None:
    asked = "-p LoadCredential=secret:/etc/machine-id -p User=ops"
    read = f"sudo systemd-run -q --wait --pipe {asked} sh -c 'cat $CREDENTIALS_DIRECTORY/secret'"
    assert two.on(host, read) == two.on(host, "cat /etc/machine-id")


@pytest.mark.parametrize("host", ["host1", "host2"])
def test_firewall_knows_users(two: RunningLab, host: str) -> None:
    """A rule for one user's packets stops those and no others."""
    connect = "python3 -c 'import socket; socket.create_connection((\"10.77.0.1\", 53), 60)'"
    two.on(
        host,
        "sudo nft 'table inet by_user { chain o { type filter hook output priority 0; "
        "meta skuid 65534 counter reject; }; }'",
    )
    try:
        assert two.on(host, f"{connect} && echo reached") == "reached"
        assert "refused" in two.on(host, f"sudo -u nobody {connect} 2>&1 | tail -1")
        assert "packets 0" not in two.on(host, "sudo nft list table inet by_user")
    finally:
        two.on(host, "sudo nft delete table inet by_user")
