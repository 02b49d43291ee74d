"""The number of calls to the API does not depend on the number of replicas.

One and two replicas are in test_a_provisioning.py, the refusal in the unit tests of tunnel_ca.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from deployed import STATE
from replicas import HOSTS, killed_before_deployment, lab, play, shell, unquoted
from tunnels_api import FIRST_CALLS, NEXT_CALLS, asked

NAME = "many"


@pytest.fixture(
    params=[
        pytest.param(3, id="three"),
        pytest.param(10, id="ten"),
    ]
)
def many(request: pytest.FixtureRequest) -> Iterator[None]:
    lab("up", NAME, "--hosts", str(request.param), "--debian", "12,13")
    yield
    lab("down", NAME)


@pytest.mark.exhaustive
@pytest.mark.usefixtures("many")
def test_more_hosts_ask_as_often_as_two() -> None:
    """A deployment asks no more."""
    killed_before_deployment(lab_name=NAME)
    first = [call["call"] for call in asked(name=NAME)]
    assert first == FIRST_CALLS
    killed_before_deployment(lab_name=NAME)
    second = [call["call"] for call in asked(len(first), name=NAME)]
    assert second == NEXT_CALLS
    # An inventory that hides the state host from a bare one, which then would be another.
    done = play(lab_name=NAME, hosts=HOSTS[1:2])
    assert done.returncode != 0
    assert "has a CA that this state host does not have" in unquoted(done.stdout)
    third = [call["call"] for call in asked(len(first) + len(second), name=NAME)]
    assert "reveal_token" not in third
    kept = shell(HOSTS[1], NAME).check_output(f"ls {STATE}").split()
    assert not {"tunnel-token", "ca.key", "ca.crt"} & set(kept), kept
