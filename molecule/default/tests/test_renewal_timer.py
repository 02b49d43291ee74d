"""Certificates are renewed by a run that finds them too short-lived, and by a timer.

The timer is on the replica that holds the CA: no run, no network, no restart.
"""

from __future__ import annotations

import hashlib
import json
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from replicas import DOMAIN, HOSTS, LAB, only, play, recap, shell, state_host

ON = (
    *("--extra-vars", "mcp_tunnel_cert_renew_timer=true"),
    *("--extra-vars", "mcp_tunnel_cert_duration=4000h"),
    *("--extra-vars", "mcp_tunnel_cert_renew_before=3000h"),
)
# Only the state host has the timer; another test checks that the other hosts have none.
HERE = (*ON, "--limit", HOSTS[0])
NAME = "mcp-tunnel-renew-cert@default"
DROP_IN = f"/etc/systemd/system/{NAME}.service.d"
CERTIFICATE = "/etc/mcp-tunnel/default/tls/tls.crt"
KEY = "/etc/mcp-tunnel/default/tls/tls.key"
PIDS = "systemctl show --property=MainPID mcp-proxy@default mcp-cloudflared@default"
FILES = "find /etc/systemd /var/lib/systemd -name '*mcp-tunnel-renew-cert*'"
# The highest overall exposure that systemd-analyze may print. Root runs it, who owns the CA's key.
EXPOSURE = 1.0
EFFECTIVE = {
    "CapabilityBoundingSet": "",
    "AmbientCapabilities": "",
    "NoNewPrivileges": "yes",
    "PrivateNetwork": "yes",
    "ProtectSystem": "strict",
    "ReadWritePaths": "/etc/mcp-tunnel/default/tls /var/lib/mcp-tunnel-replica/default",
    "SupplementaryGroups": "mcp-proxy",
}


@dataclass(frozen=True)
class Deployed:
    """The run that switches the timer on and asks for longer lifetimes.

    Attributes:
        lifetimes: of every host's certificate before the run, in hours.
        pids: the services' processes before the run, by host.
        counters: the run's recap.
    """

    lifetimes: list[int]
    pids: dict[str, str]
    counters: dict[str, dict[str, int]]


@pytest.fixture(scope="module", autouse=True)
def deployed() -> Iterator[Deployed]:
    """The timer is on while this file's tests run, and off after them."""
    lifetimes, pids = lifetimes_of_all(), pids_of_all()
    done = play(*ON)
    assert done.returncode == 0, done.stdout[-3000:]
    yield Deployed(lifetimes, pids, recap(done.stdout))
    # The last test has switched it off already, if it got that far.
    if state_host().check_output(FILES):
        done = play()
        assert done.returncode == 0, done.stdout[-3000:]


@pytest.fixture
def due() -> Iterator[int]:
    """The certificate is due for renewal. Yields the lifetime of the next one, in hours."""
    remains = stored_certificate().not_valid_after_utc - datetime.now(timezone.utc)
    hours = round(remains.total_seconds() / 3600)
    command = state_host().check_output(f"grep ^ExecStart= /etc/systemd/system/{NAME}.service")
    binary = command.removeprefix("ExecStart=").split()[0]
    command = f"{binary} --instance default --renew-before {hours + 1}h --duration {hours + 2}h"
    drop_in = f"[Service]\\nExecStart=\\nExecStart={command}\\n"
    state_host().check_output(
        f"mkdir {DROP_IN} && printf '{drop_in}' >{DROP_IN}/test.conf && systemctl daemon-reload"
    )
    yield hours + 2
    state_host().check_output(f"rm -r {DROP_IN} && systemctl daemon-reload")


def stored_certificate(name: str = HOSTS[0]) -> x509.Certificate:
    return x509.load_pem_x509_certificate(shell(name).check_output(f"cat {CERTIFICATE}").encode())


def lifetime(certificate: x509.Certificate) -> int:
    """Return the lifetime of a certificate, in hours."""
    made_for = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    return round(made_for.total_seconds() / 3600)


def lifetimes_of_all() -> list[int]:
    return [lifetime(stored_certificate(name)) for name in HOSTS]


def pids_of_all() -> dict[str, str]:
    return {name: shell(name).check_output(PIDS) for name in HOSTS}


def fingerprint(certificate: x509.Certificate) -> str:
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


def served() -> str:
    """Return the fingerprint that a TLS client gets through the tunnel from the state host."""
    context = ssl.create_default_context(
        cadata=state_host().check_output("cat /var/lib/mcp-tunnel/default/ca.crt")
    )
    host, port = LAB["edge_front"].rsplit(":", 1)
    with (
        socket.create_connection((host, int(port)), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=f"echo.{DOMAIN}") as secured,
    ):
        return hashlib.sha256(secured.getpeercert(binary_form=True) or b"").hexdigest()


def said() -> str:
    """Start the service by hand and return what it logged."""
    host = state_host()
    host.check_output(f"systemctl start {NAME}.service")
    identifier = host.check_output(f"systemctl show --property=InvocationID --value {NAME}.service")
    return host.check_output(
        f"journalctl --output=cat --no-pager _SYSTEMD_INVOCATION_ID={identifier}"
    )


def nothing_is_left_to_do(*arguments: str) -> None:
    done = play(*arguments)
    assert done.returncode == 0, done.stdout[-3000:]
    assert all(counters["changed"] == 0 for counters in recap(done.stdout).values()), done.stdout


def test_longer_lifetimes_reach_every_replica_without_a_restart(deployed: Deployed) -> None:
    assert deployed.lifetimes == [2160] * len(HOSTS)
    assert all(each["changed"] > 0 for each in deployed.counters.values())
    assert lifetimes_of_all() == [4000] * len(HOSTS)
    assert pids_of_all() == deployed.pids


def test_only_the_host_with_the_ca_has_it() -> None:
    timer = state_host().service(f"{NAME}.timer")
    assert timer.is_running
    assert timer.is_enabled
    shown = state_host().check_output(f"systemctl show {NAME}.timer")
    fields = dict(line.split("=", 1) for line in shown.splitlines())
    assert fields["Persistent"] == "yes"
    assert "OnCalendar=*-*-* 00:00:00" in fields["TimersCalendar"]
    assert fields["NextElapseUSecRealtime"]
    for name in HOSTS[1:]:
        assert shell(name).check_output(FILES) == ""


def test_is_hardened_in_effect() -> None:
    shown = state_host().check_output(f"systemctl show --all {NAME}.service")
    fields = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    assert {key: fields[key] for key in EFFECTIVE} == EFFECTIVE
    score = state_host().check_output(
        f"systemd-analyze security --no-pager {NAME}.service | tail -n 1"
    )
    assert float(score.split("level for", 1)[1].split(":", 1)[1].split()[0]) <= EXPOSURE, score


def test_nothing_is_done_while_enough_remains() -> None:
    before = state_host().check_output(f"sha256sum {CERTIFICATE} {KEY}")
    assert said().startswith("not needed: ")
    assert state_host().check_output(f"sha256sum {CERTIFICATE} {KEY}") == before


def test_a_certificate_that_is_due_is_renewed_without_a_restart(due: int) -> None:
    before, pids = stored_certificate(), state_host().check_output(PIDS)
    answer = said()
    after = stored_certificate()
    assert "renewed, because it ends on " in answer
    assert fingerprint(after) in answer
    assert fingerprint(after) != fingerprint(before)
    assert after.public_key() != before.public_key()
    assert lifetime(after) == due
    for path in (CERTIFICATE, KEY):
        file = state_host().file(path)
        assert (file.user, file.group, oct(file.mode)) == ("root", "mcp-proxy", oct(0o640))
    assert len(state_host().file("/etc/mcp-tunnel/default/tls").listdir()) == 2
    with only(HOSTS[0]):
        deadline = time.monotonic() + 240
        while served() != fingerprint(after):
            assert time.monotonic() < deadline, "the proxy does not serve the new certificate"
            time.sleep(1)
    assert state_host().check_output(PIDS) == pids
    # The second run comes at once: now enough remains.
    assert said().startswith("not needed: ")


def test_the_next_run_has_nothing_to_do() -> None:
    """Neither the timer's renewal nor the run with longer lifetimes has left anything to do."""
    pids = pids_of_all()
    nothing_is_left_to_do(*ON)
    assert pids_of_all() == pids


@pytest.mark.usefixtures("due")
def test_a_renewed_certificate_stays_when_a_replica_is_put_back() -> None:
    """The last good state had another certificate, which may have expired by the next failure."""
    assert said().startswith("renewed, ")
    before = fingerprint(stored_certificate())
    broken = {"mcp_tunnel_routes": {"echo": "http://10.77.0.2:9"}, "mcp_tunnel_health_timeout": 10}
    done = play(*HERE, "--extra-vars", json.dumps(broken))
    assert done.returncode != 0
    assert "was put back to its last good" in done.stdout
    assert fingerprint(stored_certificate()) == before
    nothing_is_left_to_do(*HERE)


def test_a_changed_setting_reaches_the_timer() -> None:
    done = play(*HERE, "--extra-vars", "mcp_tunnel_cert_renew_before=700h")
    assert done.returncode == 0, done.stdout[-3000:]
    shown = state_host().check_output(f"systemctl show {NAME}.service")
    assert "--renew-before 700h" in shown
    assert "NeedDaemonReload=no" in shown
    assert state_host().service(f"{NAME}.timer").is_running


def test_nothing_is_left_of_it_when_it_is_off_again(request: pytest.FixtureRequest) -> None:
    pids = state_host().check_output(PIDS)
    done = play("--check", "--limit", HOSTS[0])
    assert recap(done.stdout)[HOSTS[0]]["changed"] > 0
    assert state_host().service(f"{NAME}.timer").is_running
    done = play()
    assert done.returncode == 0, done.stdout[-3000:]
    counters = recap(done.stdout)
    assert [counters[name]["changed"] > 0 for name in HOSTS] == [name == HOSTS[0] for name in HOSTS]
    assert state_host().check_output(FILES) == ""
    units = "systemctl list-units --all --no-legend 'mcp-tunnel-renew-cert*'"
    assert state_host().check_output(units) == ""
    assert state_host().check_output(PIDS) == pids
    # The next whole run, which test_repeat.py judges, too.
    done = request.getfixturevalue("second_run")
    assert done.returncode == 0, done.stdout[-3000:]
    assert all(counters["changed"] == 0 for counters in recap(done.stdout).values()), done.stdout
