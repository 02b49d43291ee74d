"""A test that asks for a host runs on each of them."""

from __future__ import annotations

import os
import shutil
import tempfile

import pytest
import pythons
from replicas import HOSTS, lost, shell
from testinfra.host import Host


def pytest_configure(config: pytest.Config) -> None:
    """Give all playbooks of this run one directory for kept_playbook.py, and hosts bytecode."""
    os.environ.setdefault("KEPT_BYTECODE", pythons.commands())
    if "KEPT_MODULES" not in os.environ:  # else that of tools/molecule
        kept = os.environ["KEPT_MODULES"] = tempfile.mkdtemp(prefix="kept-modules-")
        config.add_cleanup(lambda: shutil.rmtree(kept))


def pytest_runtest_setup() -> None:
    """A laboratory that is gone ends the run at once: every further test would fail without it."""
    if gone := lost():
        pytest.exit(gone, returncode=pytest.ExitCode.INTERNAL_ERROR)


@pytest.fixture(params=HOSTS)
def name(request: pytest.FixtureRequest) -> str:
    """Each host's name in turn."""
    return str(request.param)


@pytest.fixture
def host(name: str) -> Host:
    """Each host in turn, as root."""
    return shell(name)
