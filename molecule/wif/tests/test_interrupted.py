"""A rotation of the CA that is killed after each of its changes, until the last one is made."""

from __future__ import annotations

from deployed import a_call_is_answered, fingerprint, nothing_is_left_to_do, stored, tunnel
from replicas import HOSTS, killed_after_a_change, shell
from tunnels_api import active

MOST_RUNS = 20
LAST = "Archive it on the tunnel"


def test_a_rotation_of_the_ca_that_is_killed_after_every_change() -> None:
    before = fingerprint(stored("ca.crt"))
    kills: list[str] = []
    while not kills or LAST not in kills[-1]:
        assert len(kills) < MOST_RUNS, kills
        kills.append(killed_after_a_change(playbook="rotate_ca"))
        assert len(active(tunnel())) <= 2
    print("\n".join(kills))
    # The new CA, then at least a certificate on each host, then the end of the old CA.
    assert len(kills) >= 2 + len(HOSTS), kills
    # One rotation, however often it was begun; the run that was killed last had just ended it.
    assert active(tunnel()) == [fingerprint(stored("ca.crt"))]
    assert fingerprint(stored("ca.crt")) != before
    a_call_is_answered("after all that")
    for name in HOSTS:
        assert fingerprint(shell(name).check_output("cat /etc/mcp-tunnel/default/ca.crt")) != before
    nothing_is_left_to_do()
