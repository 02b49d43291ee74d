"""Fixtures that several tests of this scenario share."""

from __future__ import annotations

import pytest
from replicas import LAB_NAME, lab


@pytest.fixture(scope="session")
def identity_token() -> str:
    """An identity token that one job is given; afterwards it must be nowhere."""
    return lab("api", LAB_NAME, "identity", "gcp").strip()
