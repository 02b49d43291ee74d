"""AppArmor as Ubuntu has it: in the kernel, with the profiles of its package loaded."""

from __future__ import annotations

import pytest

from tests.machines.deployed import CONNECTOR, PROXY, Deployed

pytestmark = pytest.mark.exhaustive

_CONFINED = 'profile="/root/confined"'
#: A profile that lets a copy of cat read nothing but itself and its libraries.
_PROFILE = """
cp /bin/cat /root/confined
printf '/root/confined {\\n /usr/** rmix,\\n /root/confined rm,\\n /etc/ld.so.cache r,\\n}\\n' |
    apparmor_parser --replace
! /root/confined /etc/hostname
"""


def test_services_run_and_nothing_is_denied(deployed: Deployed) -> None:
    for host in deployed.hosts:
        assert deployed.root(host, "cat /sys/module/apparmor/parameters/enabled") == "Y"
        assert deployed.root(host, "wc -l </sys/kernel/security/apparmor/profiles") != "0"
        states = deployed.root(host, f"systemctl is-active apparmor {PROXY} {CONNECTOR}")
        assert states.split() == ["active"] * 3
        assert [line for line in _denied(deployed, host) if _CONFINED not in line] == []
        deployed.root(host, _PROFILE)
        assert [line for line in _denied(deployed, host) if _CONFINED in line]


def _denied(deployed: Deployed, host: str) -> list[str]:
    """The denials that the kernel has logged since the machine was booted."""
    logged = "journalctl -b -q --no-pager -g 'apparmor=.DENIED' || :"
    return deployed.root(host, logged).splitlines()
