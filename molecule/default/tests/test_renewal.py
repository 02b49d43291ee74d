"""A certificate that has become too short-lived for the operator's taste."""

from __future__ import annotations

from cryptography import x509
from replicas import HOSTS, play, recap, shell

CERTIFICATE = "cat /etc/mcp-tunnel/default/tls/tls.crt"
PID = "systemctl show --property=MainPID mcp-proxy@default mcp-cloudflared@default"


def lifetime(name: str) -> int:
    """Return how many hours the host's certificate is made for."""
    certificate = x509.load_pem_x509_certificate(shell(name).check_output(CERTIFICATE).encode())
    return round(
        (certificate.not_valid_after_utc - certificate.not_valid_before_utc).total_seconds() / 3600
    )


def test_longer_lifetimes_reach_every_replica_without_a_restart() -> None:
    before = [shell(name).check_output(PID) for name in HOSTS]
    assert [lifetime(name) for name in HOSTS] == [2160] * len(HOSTS)
    longer = (
        *("--extra-vars", "mcp_tunnel_cert_duration=4000h"),
        *("--extra-vars", "mcp_tunnel_cert_renew_before=3000h"),
    )
    done = play(*longer)
    assert done.returncode == 0, done.stdout[-3000:]
    assert all(counters["changed"] > 0 for counters in recap(done.stdout).values())
    assert [lifetime(name) for name in HOSTS] == [4000] * len(HOSTS)
    assert [shell(name).check_output(PID) for name in HOSTS] == before
    done = play(*longer)
    assert done.returncode == 0, done.stdout[-3000:]
    assert all(counters["changed"] == 0 for counters in recap(done.stdout).values())
