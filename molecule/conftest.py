"""Every test that asks for a host runs on each of them."""

from __future__ import annotations

import pytest
from replicas import HOSTS, shell
from testinfra.host import Host


@pytest.fixture(params=HOSTS)
def name(request: pytest.FixtureRequest) -> str:
    """Each host's name in turn."""
    return str(request.param)


@pytest.fixture
def host(name: str) -> Host:
    """Each host in turn, as root."""
    return shell(name)
