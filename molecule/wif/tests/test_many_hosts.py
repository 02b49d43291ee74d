"""The number of calls to the API does not depend on the number of replicas."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from replicas import killed_before_deployment, lab
from tunnels_api import FIRST_CALLS, NEXT_CALLS, asked

NAME = "many"


@pytest.fixture(
    params=[
        pytest.param(3, id="three"),
        pytest.param(10, id="ten", marks=pytest.mark.exhaustive),
    ]
)
def many(request: pytest.FixtureRequest) -> Iterator[None]:
    lab("up", NAME, "--hosts", str(request.param), "--debian", "12,13")
    yield
    lab("down", NAME)


@pytest.mark.usefixtures("many")
def test_more_hosts_ask_as_often_as_two() -> None:
    """A deployment asks no more."""
    killed_before_deployment(lab_name=NAME)
    first = [call["call"] for call in asked(name=NAME)]
    assert first == FIRST_CALLS
    killed_before_deployment(lab_name=NAME)
    second = [call["call"] for call in asked(len(first), name=NAME)]
    assert second == NEXT_CALLS
