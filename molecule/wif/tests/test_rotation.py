"""Every rotation, with a client that calls a tool 20 times a second: no call fails."""

from __future__ import annotations

import json

import pytest
from deployed import (
    all_the_time,
    fingerprint,
    none_failed,
    nothing_is_left_to_do,
    stored,
    tunnel,
)
from replicas import HOSTS, disks, killed_after_a_change, play, recap, shell
from tunnels_api import QUESTIONS, active, asked

PIDS = "systemctl show --property=MainPID mcp-proxy@default mcp-cloudflared@default"
TOKEN = "/etc/mcp-tunnel/default/tunnel-token"
CERTIFICATE = "/etc/mcp-tunnel/default/tls/tls.crt"
SERIAL = f"openssl x509 -noout -serial -in {CERTIFICATE}"


def remembered(name: str) -> bool:
    """Whether the certificate that *name* has is what would be put back."""
    digest = shell(name).check_output(f"sha256sum {CERTIFICATE}").split()[0]
    good = json.loads(shell(name).check_output("cat /var/lib/mcp-tunnel-replica/default/good.json"))
    return good["mcp-proxy@default.service"]["files"][CERTIFICATE]["digest"] == digest


def test_of_the_token() -> None:
    """It is predicted, killed when only the first replica has the new token, and completed."""
    before, reasons = stored("tunnel-token"), len(tunnel()["rotations"])
    given = {"mcp_tunnel_token_rotate_reason": "quarterly", "mcp_tunnel_token_version": "second"}
    arguments = ("-e", json.dumps(given))
    kept, calls_before = disks(), len(asked())
    done = play("--check", *arguments, playbook="rotate_token")
    assert done.returncode == 0, done.stdout[-3000:]
    assert all(counters["changed"] > 0 for counters in recap(done.stdout).values()), done.stdout
    assert disks() == kept
    assert {call["call"] for call in asked(calls_before)} <= QUESTIONS

    with all_the_time() as calls:
        first = f"Run what was deployed on {HOSTS[0]}"
        killed_after_a_change(*arguments, playbook="rotate_token", tasks=[first])
        tokens = [shell(name).check_output(f"cat {TOKEN}").strip() for name in HOSTS]
        assert tokens == [stored("tunnel-token"), before]
        done = play(*arguments, playbook="rotate_token")
    assert done.returncode == 0, done.stdout[-3000:]
    none_failed(calls)
    assert stored("tunnel-token") != before
    assert tunnel()["rotations"][reasons:] == ["quarterly"]
    # The old token is refused from now on, so every connector must have the new one.
    for name in HOSTS:
        token = shell(name).check_output(f"cat {TOKEN}")
        assert token.strip() == stored("tunnel-token")


@pytest.mark.exhaustive  # test_outside_signer.py has both ways between two CAs
def test_of_the_ca() -> None:
    before = active(tunnel())
    with all_the_time() as calls:
        done = play(playbook="rotate_ca")
    assert done.returncode == 0, done.stdout[-3000:]
    none_failed(calls)
    after = active(tunnel())
    assert after == [fingerprint(stored("ca.crt"))]
    assert after != before


def test_of_the_certificates() -> None:
    """renew_cert.yml asks nothing of the API and restarts nothing."""
    calls_before = len(asked())
    before = [shell(name).check_output(f"{PIDS}; {SERIAL}").splitlines() for name in HOSTS]
    with all_the_time() as calls:
        done = play(
            *("-e", "mcp_tunnel_cert_duration=4000h", "-e", "mcp_tunnel_cert_renew_before=3000h"),
            playbook="renew_cert",
        )
    assert done.returncode == 0, done.stdout[-3000:]
    none_failed(calls)
    assert all(counters["changed"] > 0 for counters in recap(done.stdout).values())
    after = [shell(name).check_output(f"{PIDS}; {SERIAL}").splitlines() for name in HOSTS]
    for old, new in zip(before, after, strict=True):
        assert old[:-1] == new[:-1]
        assert old[-1] != new[-1]
    assert asked(calls_before) == []


@pytest.mark.exhaustive  # test_limits.py has a run that ends at a replica which does not work
def test_of_a_certificate_that_does_not_prove_itself() -> None:
    """The run ends there. The next one has nothing to renew, but proves it and remembers it."""
    due = ("-e", "mcp_tunnel_cert_duration=5000h", "-e", "mcp_tunnel_cert_renew_before=4500h")
    first, second = HOSTS
    before = [shell(name).check_output(SERIAL) for name in HOSTS]
    shell(first).check_output("systemctl stop mcp-cloudflared@default")
    done = play(*due, playbook="renew_cert")
    assert done.returncode != 0
    assert f"{first} does not work" in done.stdout
    renewed = [shell(name).check_output(SERIAL) for name in HOSTS]
    assert [old == new for old, new in zip(before, renewed, strict=True)] == [False, True]
    assert not remembered(first)

    done = play(playbook="renew_cert")
    assert done.returncode != 0
    assert f"{first} does not work" in done.stdout

    shell(first).check_output("systemctl start mcp-cloudflared@default")
    done = play(playbook="renew_cert")
    assert done.returncode == 0, done.stdout[-3000:]
    assert [shell(name).check_output(SERIAL) for name in HOSTS] == renewed
    assert remembered(first)
    nothing_is_left_to_do()
    assert remembered(second)
