"""One laboratory of virtual machines for all tests here: booted, then deployed to, once each."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from lab.core.paths import LabPaths
from lab.supervision import lifecycle
from tests.machines.deployed import Deployed

#: One machine for each, and so one replica of the tunnel.
_RELEASES = os.environ.get("MACHINES_DEBIAN", "12,13").split(",")
#: The name of a laboratory that is up and deployed to; it stays. Emulated, both take a while.
_DEPLOYED = os.environ.get("MACHINES_LAB")


@pytest.fixture(scope="session")
def deployed() -> Iterator[Deployed]:
    """Machines that are replicas of a tunnel, deployed by site.yml."""
    if _DEPLOYED:
        yield Deployed(LabPaths(_DEPLOYED))
        return
    paths = lifecycle.up(f"m{os.getpid() % 10000000}", len(_RELEASES), _RELEASES, machines=True)
    try:
        deployed = Deployed(paths)
        deployed.play()
        yield deployed
    finally:
        lifecycle.down(paths)
