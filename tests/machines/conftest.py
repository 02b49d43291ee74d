"""One laboratory of virtual machines for all tests here: booted, then deployed to, once each."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from lab.core.paths import LabPaths
from lab.supervision import lifecycle
from tests.machines.deployed import RELEASES, Deployed

#: Ubuntu has its profiles loaded; Debian's kernel has AppArmor as well.
_PACKAGES = ("apparmor",)
#: The name of a laboratory that is up and deployed to; it stays. Emulated, both take a while.
_DEPLOYED = os.environ.get("MACHINES_LAB")


@pytest.fixture(scope="session")
def deployed() -> Iterator[Deployed]:
    """Machines that are replicas of a tunnel, deployed by site.yml."""
    if _DEPLOYED:
        yield Deployed(LabPaths(_DEPLOYED))
        return
    name = f"m{os.getpid() % 10000000}"
    paths = lifecycle.up(name, len(RELEASES), RELEASES, _PACKAGES, machines=True)
    try:
        deployed = Deployed(paths)
        for host in deployed.hosts:
            deployed.root(host, "systemctl enable --now apparmor")
        deployed.play()
        yield deployed
    finally:
        lifecycle.down(paths)
