"""What several tests of this scenario judge together."""

from __future__ import annotations

import subprocess

import pytest
from replicas import play


@pytest.fixture(scope="session")
def second_run() -> subprocess.CompletedProcess[str]:
    """A whole run on replicas that another whole run has just left as they should be.

    It is made when the first test asks for it.
    """
    return play("--diff")
