"""A laboratory for each release: booted once, and ended before the next one."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from lab.supervision import facts, lifecycle
from tests.machines.deployed import Deployed

from .releases import RELEASES


@pytest.fixture(scope="session", params=RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    """The release, like ``11``."""
    return str(request.param)


@pytest.fixture(scope="session")
def deployed(release: str) -> Iterator[Deployed]:
    """Hosts with that release, in programmatic access; bare at first."""
    wanted = RELEASES[release]
    name = f"y{os.getpid() % 10000000}"
    paths = lifecycle.up(name, wanted.hosts, [release], machines=wanted.machines)
    yield Deployed(paths, "wif")
    lifecycle.down(paths)


@pytest.fixture(autouse=True)
def _the_laboratory_is_up(deployed: Deployed) -> None:
    if gone := facts.gone(deployed.paths):
        pytest.exit(gone, returncode=pytest.ExitCode.INTERNAL_ERROR)
