"""Duties that would cut off a replica which the inventory does not show."""

from __future__ import annotations

import pytest
from deployed import a_call_is_answered, all_the_time, none_failed, stored, tunnel
from replicas import HOSTS, play, recap, unquoted
from tunnels_api import active


@pytest.mark.parametrize(
    "duty",
    [
        *("rotate_ca", "teardown"),
        # Of the same kind: the unit tests of the playbooks see that they ask for all replicas.
        *(pytest.param(duty, marks=pytest.mark.exhaustive) for duty in ("rotate_token", "recover")),
    ],
)
def test_a_disabled_replica_stays_served(duty: str) -> None:
    """The other one alone is in the inventory, as a platform shows it."""
    before = (active(tunnel()), stored("tunnel-token"), stored("ca.crt"))
    arguments = {
        "recover": f"mcp_tunnel_id={stored('tunnel-id')}",
        "teardown": "mcp_tunnel_teardown_confirmed=true",
    }.get(duty, "mcp_tunnel_token_rotate_reason=test")
    with all_the_time() as calls:
        done = play("--extra-vars", arguments, playbook=duty, hosts=HOSTS[:1])
    output = unquoted(done.stdout)
    assert done.returncode != 0, done.stdout
    assert f"mcp_tunnel_forget: [{HOSTS[1]}] for one run" in output
    assert all(counters["changed"] == 0 for counters in recap(done.stdout).values())
    assert (active(tunnel()), stored("tunnel-token"), stored("ca.crt")) == before
    none_failed(calls)
    a_call_is_answered(duty)


@pytest.mark.parametrize(
    "duty",
    [
        *("rotate_ca", "recover"),
        # In the scenario default, too: test_members.py.
        *(pytest.param(duty, marks=pytest.mark.exhaustive) for duty in ("rotate_token", "site")),
    ],
)
def test_a_disabled_state_host_is_not_replaced(duty: str) -> None:
    before = active(tunnel())
    arguments = f"mcp_tunnel_id={stored('tunnel-id')}"
    done = play("--extra-vars", arguments, playbook=duty, hosts=HOSTS[1:])
    output = unquoted(done.stdout)
    assert done.returncode != 0, done.stdout
    assert f"{HOSTS[1]} remember {HOSTS[0]} as their state host, and the inventory" in output
    assert active(tunnel()) == before
    a_call_is_answered(duty)
