"""A version of ansible-core (``--core``), and a laboratory of two bare hosts for it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from stages import cores

from lab.core.paths import LabPaths
from lab.supervision import facts, lifecycle

from .controller import Controller


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--core``: the version of ansible-core that runs the playbooks."""
    parser.addoption("--core", default=next(iter(cores.PYTHONS)), choices=list(cores.PYTHONS))


@pytest.fixture(scope="session")
def core(pytestconfig: pytest.Config) -> str:
    """The version, like ``2.16``."""
    return str(pytestconfig.getoption("core"))


@pytest.fixture(scope="session")
def paths() -> Iterator[LabPaths]:
    """A laboratory with host1 (Debian 12) and host2 (Debian 13), both bare at first."""
    paths = lifecycle.up(f"k{os.getpid() % 10000000}", 2, ["12", "13"])
    yield paths
    lifecycle.down(paths)


@pytest.fixture(scope="session")
def controller(core: str, paths: LabPaths) -> Controller:
    """A controller with that version."""
    return Controller(cores.environment(core), paths)


@pytest.fixture(autouse=True)
def _the_laboratory_is_up(paths: LabPaths) -> None:
    if gone := facts.gone(paths):
        pytest.exit(gone, returncode=pytest.ExitCode.INTERNAL_ERROR)
