"""A rotation of the CA that is killed after each of its changes, until none is left.

`make test` takes one change of each kind, `make test-all` every change.
"""

from __future__ import annotations

import pytest
from deployed import a_call_is_answered, fingerprint, nothing_is_left_to_do, stored, tunnel
from replicas import HOSTS, killed_after_a_change, shell
from tunnels_api import active

MOST_RUNS = 20
LAST = "mcp_tunnels.stack.provision : Archive it on the tunnel"
# The new CA, which must stay the only one; a replica that is ahead of the other; a key without a
# certificate.
CHOSEN = (
    "mcp_tunnels.stack.provision : Make the CA, or check the one that is brought",
    f"mcp_tunnels.stack.proxy : Install the certificate on {HOSTS[0]}",
    "mcp_tunnels.stack.proxy : Look at the server certificate, and make a key when one is needed"
    f" on {HOSTS[1]}",
    LAST,
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
    kills: list[str] = []
    while not kills or LAST not in kills[-1]:
        assert len(kills) < MOST_RUNS, kills
        tasks = chosen[len(kills) :][:1]
        kills.append(killed_after_a_change(playbook="rotate_ca", tasks=tasks))
        assert len(active(tunnel())) <= 2
    print("\n".join(kills))
    # First the new CA, then at least a certificate on each host, then the end of the old CA.
    assert len(kills) == len(chosen) or not chosen, kills
    assert len(kills) >= 2 + len(HOSTS), kills
    # It is one rotation, however often it was begun; the last run that was killed had ended it.
    assert active(tunnel()) == [fingerprint(stored("ca.crt"))]
    assert fingerprint(stored("ca.crt")) != before
    a_call_is_answered("after all that")
    for name in HOSTS:
        assert fingerprint(shell(name).check_output("cat /etc/mcp-tunnel/default/ca.crt")) != before
    nothing_is_left_to_do()
