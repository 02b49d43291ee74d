"""A rotation of the CA: predicted, then killed after each of its changes, until none is left.

`make test` takes two changes, after which another run does the rest, and `make test-all` every one.
"""

from __future__ import annotations

import pytest
from deployed import a_call_is_answered, fingerprint, nothing_is_left_to_do, stored, tunnel
from replicas import HOSTS, disks, killed_after_a_change, play, recap, shell
from tunnels_api import QUESTIONS, active, asked

MOST_RUNS = 20
LAST = "mcp_tunnels.stack.provision : Archive it on the tunnel"
# The new CA, which must stay the only one; a key without a certificate, on a replica that is behind
# the other.
CHOSEN = (
    "mcp_tunnels.stack.provision : Make the CA, or check the one that is brought",
    "mcp_tunnels.stack.proxy : Look at the server certificate, and make a key when one is needed"
    f" on {HOSTS[1]}",
)


@pytest.mark.parametrize(
    "chosen",
    [
        pytest.param(CHOSEN, id="after chosen changes"),
        pytest.param((), id="after every change", marks=pytest.mark.exhaustive),
    ],
)
def test_a_rotation_of_the_ca_that_is_killed(chosen: tuple[str, ...]) -> None:
    before = fingerprint(stored("ca.crt"))
    kept, calls_before = disks(), len(asked())
    done = play("--check", playbook="rotate_ca")
    assert done.returncode == 0, done.stdout[-3000:]
    assert all(counters["changed"] > 0 for counters in recap(done.stdout).values()), done.stdout
    assert disks() == kept
    assert {call["call"] for call in asked(calls_before)} <= QUESTIONS

    kills: list[str] = []
    while len(kills) < len(chosen) or not (chosen or (kills and LAST in kills[-1])):
        assert len(kills) < MOST_RUNS, kills
        tasks = chosen[len(kills) :][:1]
        kills.append(killed_after_a_change(playbook="rotate_ca", tasks=tasks))
        assert len(active(tunnel())) <= 2
    print("\n".join(kills))
    if chosen:
        done = play(playbook="rotate_ca")
        assert done.returncode == 0, done.stdout[-3000:]
    else:
        # First the new CA, then at least a certificate on each host, then the end of the old CA.
        assert len(kills) >= 2 + len(HOSTS), kills
    # It is one rotation, however often it was begun; the last of the runs has ended it.
    assert active(tunnel()) == [fingerprint(stored("ca.crt"))]
    assert fingerprint(stored("ca.crt")) != before
    a_call_is_answered("after all that")
    for name in HOSTS:
        assert fingerprint(shell(name).check_output("cat /etc/mcp-tunnel/default/ca.crt")) != before
    nothing_is_left_to_do()
