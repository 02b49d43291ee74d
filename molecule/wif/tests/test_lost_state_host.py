"""The state host is lost with everything on it, and another one takes over."""

from __future__ import annotations

import subprocess

from deployed import (
    STATE,
    all_the_time,
    fingerprint,
    none_failed,
    stored,
    tunnel,
)
from replicas import HOSTS, RUN, play, recap, shell
from tunnels_api import active, status, the_tunnel

OTHER = HOSTS[-1]


def test_another_state_host_takes_over() -> None:
    made, lost = tunnel(), fingerprint(stored("ca.crt"))
    tunnels = len(status()["tunnels"])
    moved = ("-e", f"mcp_tunnel_state_host={OTHER}")
    with all_the_time() as calls:
        shell(HOSTS[0]).check_output(f"rm -r {STATE}")

        refused = play(*moved)
        assert "recover.yml" in " ".join(refused.stdout.split())
        refused = play(*moved, playbook="recover")
        assert "mcp_tunnel_id" in refused.stdout
        assert all(counters["changed"] == 0 for counters in recap(refused.stdout).values())

        done = play(*moved, "-e", f"mcp_tunnel_id={made['id']}", playbook="recover")
    assert done.returncode == 0, done.stdout[-3000:]
    none_failed(calls)

    assert len(status()["tunnels"]) == tunnels
    found = fingerprint(shell(OTHER).check_output(f"cat {STATE}/ca.crt"))
    assert active(the_tunnel(made["domain"])) == [found]
    assert found != lost


def test_the_state_moves_with_its_directory() -> None:
    """As documented, a copy makes another host the state host: here, the first one again."""
    ssh = f"ssh -F {RUN}/ssh_config"
    pack, unpack = (
        "sudo tar -C /var/lib/mcp-tunnel -c default",
        "sudo tar -C /var/lib/mcp-tunnel -x",
    )
    subprocess.run(
        ["bash", "-ec", f"set -o pipefail; {ssh} {OTHER} {pack} | {ssh} {HOSTS[0]} {unpack}"],
        check=True,
        timeout=60,
    )
    shell(OTHER).check_output(f"rm -r {STATE}")
    # The replicas remember the other one, until this run.
    refused = play()
    assert "mcp_tunnel_state_host" in refused.stdout
    done = play("-e", f"mcp_tunnel_state_host={HOSTS[0]}")
    assert done.returncode == 0, done.stdout[-3000:]
    # The next whole run (test_maintenance.py) finds nothing to do but what was done before it.
