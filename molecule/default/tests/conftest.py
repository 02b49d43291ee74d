"""Fixtures that several tests of this scenario share.

The folder ``rollouts`` has those of releases that are rolled out, ``secrets`` those of encrypted
secrets, and ``up`` those of replicas that are up. pytest sorts them behind the files, so the last
ones see what is left of the replicas after all that was done to them.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from replicas import play


@pytest.fixture(scope="session")
def fact_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which runs keep facts, and find those of earlier runs."""
    return tmp_path_factory.mktemp("facts")


@pytest.fixture(scope="session")
def caching(fact_cache: Path) -> dict[str, str]:
    """Ansible's settings for runs with that cache, as many operators have them."""
    return {
        "ANSIBLE_CACHE_PLUGIN": "jsonfile",
        "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(fact_cache),
    }


@pytest.fixture(scope="session")
def second_run(caching: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A whole run on replicas that another whole run has just left as they should be.

    The first test that asks for it starts it. It finds facts of earlier runs in a cache.
    """
    return play("--diff", settings=caching)
