"""A tunnel on loopback for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.tests.loopback import Tunnel


@pytest.fixture
def tunnel(tmp_path: Path) -> Iterator[Tunnel]:
    """An edge without connectors."""
    made = Tunnel(tmp_path)
    yield made
    made.end()
