"""What is asked of the API does not depend on the number of replicas."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from replicas import killed_before_deployment, lab
from tunnels_api import asked

NAME = "ten"


@pytest.fixture(scope="module", autouse=True)
def ten() -> Iterator[None]:
    lab("up", NAME, "--hosts", "10", "--debian", "12,13")
    yield
    lab("down", NAME)


def test_ten_hosts_ask_as_often_as_two() -> None:
    """Two ask six and four times: see test_a_provisioning. A deployment asks nothing more."""
    killed_before_deployment(lab_name=NAME)
    first = [call["call"] for call in asked(name=NAME)]
    assert "create" in first
    assert len(first) <= 6, first
    killed_before_deployment(lab_name=NAME)
    second = [call["call"] for call in asked(len(first), name=NAME)]
    assert len(second) <= 4, second
