"""Certificates are renewed by a run that finds them too short-lived, and by a timer.

Every replica has the timer. The state host signs, and the others ask it over SSH: no run, no
restart, and the CA's key stays where it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import journal
import pytest
from alerting import firing
from caller import calling
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from exposure import all_are_hardened
from replicas import DOMAIN, HOSTS, LAB, RUN, TOGETHER, play, recap, shell, state_host, unquoted
from secrets_search import PLACES, found, key_lines, shown

ON = (
    *TOGETHER,
    *("--extra-vars", "mcp_tunnel_cert_renew_timer=true"),
    *("--extra-vars", "mcp_tunnel_cert_duration=4000h"),
    *("--extra-vars", "mcp_tunnel_cert_renew_before=3000h"),
)
MEMBER = HOSTS[1]
NAME = "mcp-tunnel-renew-cert@default"
DROP_IN = f"/etc/systemd/system/{NAME}.service.d"
CERTIFICATE = "/etc/mcp-tunnel/default/tls/tls.crt"
KEY = "/etc/mcp-tunnel/default/tls/tls.key"
PIDS = "systemctl show --property=MainPID mcp-proxy@default mcp-cloudflared@default"
SIGNING = "mcp-tunnel-signing-default"
SOCKET = "/run/mcp-tunnel-signing/default"
RENEWAL = "/etc/mcp-tunnel/default/renewal"
SIGNATORIES = "/etc/mcp-tunnel-signer/.ssh/authorized_keys"
FILES = (
    "find /etc/systemd /var/lib/systemd /etc/mcp-tunnel /etc/mcp-tunnel-signer"
    " -name '*mcp-tunnel-renew-cert*' -o -name '*mcp-tunnel-signing*' -o -name renewal"
    " -o -name authorized_keys;"
    " find /run/mcp-tunnel-signing -type s"
)
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
    if state_host().run(FILES).stdout:
        done = play(*TOGETHER)
        assert done.returncode == 0, done.stdout[-3000:]


@pytest.fixture(params=HOSTS)
def due(request: pytest.FixtureRequest) -> Iterator[str]:
    """The certificate of a host is due for renewal. Yields the host's name."""
    name: str = request.param
    with due_on(name):
        yield name


@contextlib.contextmanager
def due_on(name: str) -> Iterator[None]:
    """The certificate is due: the unit asks for more than what is left of it."""
    remains = stored_certificate(name).not_valid_after_utc - datetime.now(timezone.utc)
    hours = max(4000, round(remains.total_seconds() / 3600))
    host = shell(name)
    command = host.check_output(f"grep ^ExecStart= /etc/systemd/system/{NAME}.service")
    command = command.removeprefix("ExecStart=").partition(" --renew-before")[0]
    command += f" --renew-before {hours + 1}h --duration {hours + 2}h"
    drop_in = f"[Service]\\nExecStart=\\nExecStart={command}\\n"
    host.check_output(
        f"mkdir {DROP_IN} && printf '%b' '{drop_in}' >{DROP_IN}/test.conf"
        " && systemctl daemon-reload"
    )
    try:
        yield
    finally:
        host.check_output(f"rm -r {DROP_IN} && systemctl daemon-reload")


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
    """Return the fingerprint that a TLS client gets through the tunnel."""
    context = ssl.create_default_context(cadata=ca())
    host, port = LAB["edge_front"].rsplit(":", 1)
    with (
        socket.create_connection((host, int(port)), timeout=240) as plain,
        context.wrap_socket(plain, server_hostname=f"echo.{DOMAIN}") as secured,
    ):
        return hashlib.sha256(secured.getpeercert(binary_form=True) or b"").hexdigest()


def ca() -> str:
    return str(state_host().check_output("cat /var/lib/mcp-tunnel/default/ca.crt"))


def said(name: str = HOSTS[0], fails: bool = False) -> str:
    """Start the service by hand and return what it logged."""
    host = shell(name)
    began = journal.moment(host)
    done = host.run(f"systemctl start {NAME}.service")
    assert (done.rc != 0) == fails, done.stderr
    return journal.logged(host, f"{NAME}.service", began)


def await_signed(*lines: str) -> None:
    """Wait until the signer, on the state host, has said all of this: its client may be faster."""
    deadline = time.monotonic() + 120
    while True:
        said = journal.read(state_host(), f"--unit='{SIGNING}@*'")
        missing = [line for line in lines if line not in said]
        if not missing:
            return
        assert time.monotonic() < deadline, missing
        time.sleep(0.2)


def test_longer_lifetimes_reach_every_replica_without_a_restart(deployed: Deployed) -> None:
    assert deployed.lifetimes == [2160] * len(HOSTS)
    assert all(each["changed"] > 0 for each in deployed.counters.values())
    assert lifetimes_of_all() == [4000] * len(HOSTS)
    assert pids_of_all() == deployed.pids


@pytest.mark.parametrize("name", HOSTS)
def test_every_replica_has_it(name: str) -> None:
    for unit in (f"{NAME}.timer", f"{SIGNING}.socket"):
        assert shell(name).service(unit).is_running
        assert shell(name).service(unit).is_enabled
    shown = shell(name).check_output(f"systemctl show {NAME}.timer")
    fields = dict(line.split("=", 1) for line in shown.splitlines())
    assert fields["Persistent"] == "yes"
    assert "OnCalendar=*-*-* 00:00:00" in fields["TimersCalendar"]
    assert fields["NextElapseUSecRealtime"]


@pytest.mark.parametrize("name", HOSTS)
def test_is_hardened_in_effect(name: str) -> None:
    shown = shell(name).check_output(f"systemctl show --all {NAME}.service")
    fields = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    assert {key: fields[key] for key in EFFECTIVE} == EFFECTIVE
    all_are_hardened(shell(name), NAME, f"{SIGNING}@default")


def test_no_key_of_the_renewal_is_for_anybody_else() -> None:
    key = shell(MEMBER).file(f"{RENEWAL}/key")
    assert (key.user, oct(key.mode)) == ("root", oct(0o600))
    public = shell(MEMBER).check_output(f"cat {RENEWAL}/key.pub")
    lines = state_host().check_output(f"cat {SIGNATORIES}").splitlines()
    assert len(lines) == len(HOSTS) - 1
    assert lines[0].startswith('restrict,command="/opt/mcp-tunnel/proxy/current/bin/')
    assert lines[0].endswith(f' --instance default --member {MEMBER}" {public}')
    assert not shell(MEMBER).file(SIGNATORIES).exists
    assert not state_host().file(RENEWAL).exists
    shadow = state_host().check_output("getent shadow mcp-tunnel-signer")
    assert shadow.split(":")[1].startswith(("!", "*"))


@pytest.mark.parametrize("name", HOSTS)
def test_nothing_is_done_while_enough_remains(name: str) -> None:
    before = shell(name).check_output(f"sha256sum {CERTIFICATE} {KEY}")
    answer = said(name)
    assert answer.startswith("not needed: ")
    assert "; the state host would sign until " in answer
    assert shell(name).check_output(f"sha256sum {CERTIFICATE} {KEY}") == before


def test_verify_says_that_every_replica_could_renew() -> None:
    done = play(*ON, playbook="verify")
    assert done.returncode == 0, done.stdout[-3000:]
    rows = [line for line in done.stdout.splitlines() if line.strip().startswith("renewal ")]
    assert len(rows) == len(HOSTS), done.stdout[-3000:]
    assert all(f"{NAME}.timer" in row and "ok" in row.split() for row in rows)
    assert "could not renew" not in done.stdout


@pytest.mark.parametrize("name", HOSTS)
def test_the_status_of_a_host_shows_the_renewal(name: str) -> None:
    before = int(shell(name).check_output("date +%s"))
    assert said(name).startswith("not needed: ")
    document = json.loads(shell(name).check_output("mcp-tunnel status --json"))
    renewal = document["instances"][0]["renewal"]
    assert (renewal["state"], renewal["wanted"], renewal["would_sign"]) == ("ok", True, True)
    due = stored_certificate(name).not_valid_after_utc - timedelta(hours=3000)
    assert renewal["due_at"] == f"{due:%Y-%m-%dT%H:%M:%SZ}"
    succeeded = datetime.strptime(renewal["last_success_at"], "%Y-%m-%dT%H:%M:%SZ")
    assert succeeded.replace(tzinfo=timezone.utc).timestamp() >= before
    # The timer's own words: in seconds, and in the zone of the host.
    show = f"systemctl show --property=NextElapseUSecRealtime --value {NAME}.timer"
    seconds = shell(name).check_output(f'date --date "$({show})" +%s')
    moment = datetime.fromtimestamp(int(seconds), timezone.utc)
    assert renewal["next_look_at"] == f"{moment:%Y-%m-%dT%H:%M:%SZ}"
    text = shell(name).check_output("mcp-tunnel status")
    assert re.search("(?m)^renewal +ok +due .*; the state host would sign; last success 20", text)


def test_a_replica_with_other_settings_than_the_state_host_is_told_at_once() -> None:
    """Its certificate lasts for months: without this, nobody would know before it is due."""
    host = shell(MEMBER)
    command = host.check_output(f"grep ^ExecStart= /etc/systemd/system/{NAME}.service")
    other = command.replace("--duration 4000h", "--duration 3500h")
    host.check_output(
        f"mkdir {DROP_IN} && printf '%b' '[Service]\\nExecStart=\\n{other}\\n' >{DROP_IN}/test.conf"
        " && systemctl daemon-reload"
    )
    try:
        answer = said(MEMBER, fails=True)
        document = json.loads(host.check_output("mcp-tunnel status --json"))
    finally:
        host.check_output(f"rm -r {DROP_IN} && systemctl daemon-reload")
    problem = "on the state host, the replica: accepts 3500h, and this host signs for 4000h"
    assert problem in answer
    assert document["healthy"] is True
    renewal = document["instances"][0]["renewal"]
    assert (renewal["state"], renewal["would_sign"]) == ("notice", False)
    assert renewal["detail"] == problem.replace(":", "")
    await_signed(f"{MEMBER}: refused: the replica: accepts 3500h")


@contextlib.contextmanager
def crowded() -> Iterator[None]:
    """The sshd of the state host lets one connection at a time log in, and somebody has it.

    A restart returns when the new sshd listens, which a reload does not. Logins stay.
    """
    host = state_host()
    place = "/etc/ssh/sshd_config.d/test.conf"
    host.check_output(f"echo 'MaxStartups 1' >{place} && systemctl restart ssh")
    address = LAB["hosts"][0]["address"]
    holding = f"exec 3<>/dev/tcp/{address}/22; rm /run/crowd.comes"
    holding += "; while [ -e /run/crowd ]; do sleep 0.1; done"
    shell(MEMBER).check_output("touch /run/crowd /run/crowd.comes")
    shell(MEMBER).check_output(f"nohup bash -c '{holding}' >/dev/null 2>&1 &")
    shell(MEMBER).check_output(
        "timeout 120 sh -c 'while [ -e /run/crowd.comes ]; do sleep 0.1; done'"
    )
    try:
        yield
    finally:
        shell(MEMBER).check_output("rm -f /run/crowd /run/crowd.comes")
        host.check_output(f"rm {place} && systemctl restart ssh")


def refusals(since: str) -> int:
    """Return how many connections the sshd of the state host has refused, by its own log."""
    return journal.read(state_host(), "--unit=ssh", f"--since={since}").count("drop connection")


def test_a_state_host_that_is_busy_is_asked_again_within_the_run() -> None:
    since, host = journal.moment(state_host()), shell(MEMBER)
    began = journal.moment(host)
    with crowded():
        host.check_output(f"systemctl start --no-block {NAME}.service")
        deadline = time.monotonic() + 240
        while not refusals(since):
            assert time.monotonic() < deadline, "nobody was refused"
            time.sleep(0.2)
        host.check_output("rm /run/crowd")
        show = f"systemctl show --property=ActiveState --property=Result {NAME}.service"
        while "ActiveState=activating" in host.check_output(show):
            assert time.monotonic() < deadline + 240
            time.sleep(0.2)
        assert "Result=success" in host.check_output(show)
    assert journal.logged(host, f"{NAME}.service", began).startswith("not needed: ")


def aged(name: str, days: int) -> None:
    """Give a host a certificate for its key as a run of *days* ago would have made it."""
    before = stored_certificate(name)
    key = state_host().check_output("cat /var/lib/mcp-tunnel/default/ca.key")
    issuer = x509.load_pem_x509_certificate(ca().encode())
    begin = datetime.now(timezone.utc) - timedelta(days=days)
    builder = (
        x509.CertificateBuilder()
        .subject_name(before.subject)
        .issuer_name(issuer.subject)
        .public_key(before.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=90))
    )
    for extension in before.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    made = builder.sign(load_pem_private_key(key.encode(), None), hashes.SHA256())
    text = made.public_bytes(Encoding.PEM).decode()
    shell(name).check_output(f"cat >{CERTIFICATE} <<'EOF'\n{text}EOF")


METRICS = (
    "python3 -c 'from urllib.request import urlopen;"
    ' print(urlopen("http://127.0.0.1:8081/metrics").read().decode())\''
)


def await_in_use(certificates: dict[str, x509.Certificate]) -> None:
    """Wait until the proxy of each host has its certificate in use, by the metric of its end."""
    deadline = time.monotonic() + 240
    for name, certificate in certificates.items():
        wanted = certificate.not_valid_after_utc.timestamp()
        while wanted not in ends_in_use(name):
            assert time.monotonic() < deadline, f"the proxy of {name} does not use its certificate"
            time.sleep(0.2)


def ends_in_use(name: str) -> list[float]:
    page = shell(name).check_output(METRICS)
    return [
        float(value)
        for value in re.findall(
            r"(?m)^mcp_proxy_certificate_expiry_timestamp_seconds(?:{.*})? (\S+)$", page
        )
    ]


def test_after_seventy_days_every_replica_renews_and_no_client_notices() -> None:
    """The kernel's clock is that of all hosts, so the certificates move instead of the clock."""
    state = json.loads((RUN / "api" / "state.json").read_text())
    tunnel = next(each["id"] for each in state["tunnels"] if each["domain"] == DOMAIN)
    pids = pids_of_all()
    with calling(RUN, LAB["edge_front"], tunnel, ca()) as calls:
        for name in HOSTS:
            aged(name, 70)
        old = {name: stored_certificate(name) for name in HOSTS}
        await_in_use(old)
        assert served() in {fingerprint(each) for each in old.values()}
        for name in HOSTS:
            answer = said(name)
            assert "renewed, because it ends on " in answer
            assert fingerprint(stored_certificate(name)) in answer
        new = {name: stored_certificate(name) for name in HOSTS}
        await_in_use(new)
        assert served() in {fingerprint(each) for each in new.values()}
    assert calls.failed == []
    assert len(calls.made) > 1
    assert pids_of_all() == pids
    for name in HOSTS:
        assert new[name].public_key() != old[name].public_key()
        await_signed(f"{name}: signed: fingerprint {fingerprint(new[name])}, until 20")


def test_a_certificate_that_is_due_is_renewed_without_a_restart(due: str) -> None:
    before, pids = stored_certificate(due), shell(due).check_output(PIDS)
    answer = said(due)
    after = stored_certificate(due)
    assert "renewed, because it ends on " in answer
    assert fingerprint(after) in answer
    assert fingerprint(after) != fingerprint(before)
    assert after.public_key() != before.public_key()
    assert lifetime(after) == 4000
    for path in (CERTIFICATE, KEY):
        file = shell(due).file(path)
        assert (file.user, file.group, oct(file.mode)) == ("root", "mcp-proxy", oct(0o640))
    assert len(shell(due).file("/etc/mcp-tunnel/default/tls").listdir()) == 2
    assert shell(due).check_output(PIDS) == pids


@contextlib.contextmanager
def soon_given_up() -> Iterator[None]:
    """Another replica waits 2 seconds for the state host, and not 15."""
    settings = f"{RENEWAL}/ssh_config"
    shorter = r"s/^\(\s*ConnectTimeout\) .*/\1 2/"
    shell(MEMBER).check_output(f"sed --in-place=.kept '{shorter}' {settings}")
    try:
        yield
    finally:
        shell(MEMBER).check_output(f"mv {settings}.kept {settings}")


@contextlib.contextmanager
def away() -> Iterator[None]:
    """The state host cannot be reached from other replicas; this test still reaches it."""
    address = next(entry["address"] for entry in LAB["hosts"] if entry["name"] == MEMBER)
    rule = f"add rule inet away input ip saddr {address} tcp dport 22 drop"
    chain = "add chain inet away input { type filter hook input priority -5; }"
    state_host().check_output(f"nft 'add table inet away; {chain}; {rule}'")
    try:
        yield
    finally:
        state_host().check_output("nft delete table inet away")


def test_a_state_host_that_is_away_is_told_and_costs_no_certificate() -> None:
    before = shell(MEMBER).check_output(f"sha256sum {CERTIFICATE} {KEY}")
    with due_on(MEMBER), soon_given_up(), away():
        answer = said(MEMBER, fails=True)
        assert "cannot be asked: ssh: connect to host" in answer
        assert "timed out. Let this replica reach the SSH port of the state host" in answer
        assert shell(MEMBER).service(f"{NAME}.service").is_running is False
        assert shell(MEMBER).check_output(f"sha256sum {CERTIFICATE} {KEY}") == before
        done = play(*ON, playbook="verify")
        assert done.returncode == 0, done.stdout[-3000:]
        assert f"{MEMBER} works, but could not renew its certificate by itself" in unquoted(
            done.stdout
        )
        # The state host does not need the others.
        assert said(HOSTS[0]).startswith("not needed: ")
        # Long before the certificate ends, with the real Prometheus and the host's own metrics.
        aged(MEMBER, 70)
        await_in_use({MEMBER: stored_certificate(MEMBER)})
        alerts = firing(MEMBER, {"McpTunnelRenewalFailing", "McpTunnelRenewalOverdue"})
        assert not {each for each in alerts if "Expir" in each}
    with due_on(MEMBER):
        assert "renewed, because " in said(MEMBER)


def test_one_that_was_killed_in_between_is_completed_by_the_next() -> None:
    host = shell(MEMBER)
    with due_on(MEMBER):
        with away():
            host.check_output(f"systemctl start --no-block {NAME}.service")
            deadline = time.monotonic() + 240
            while not host.file(f"{KEY}.pending").exists:
                assert time.monotonic() < deadline
                time.sleep(0.2)
            host.check_output(f"systemctl kill --signal=SIGKILL {NAME}.service")
        assert "renewed, because " in said(MEMBER)
    assert sorted(host.file("/etc/mcp-tunnel/default/tls").listdir()) == ["tls.crt", "tls.key"]


ASK = f"ssh -F {RENEWAL}/ssh_config -i {RENEWAL}/key"
HOSTILE = {
    "no request": ("echo evil", "state-host", "none that is known here"),
    "a shell": ("echo id", "state-host sh", "none that is known here"),
    "a huge one": ("head -c 1000000 /dev/zero", "state-host", "more than 16384 bytes"),
    "another's name": ("printf 'member replica1\\ncheck\\n'", "state-host", "none that is known"),
    "a request of Ed25519": (
        "printf 'sign\\n'; openssl req -new -newkey ed25519 -nodes -keyout /dev/null -subj /CN=x",
        "state-host",
        "neither RSA nor ECDSA",
    ),
    "other names": (
        "printf 'sign\\n'; openssl req -new -newkey rsa:2048 -nodes -keyout /dev/null -subj /CN=x"
        " -addext subjectAltName=DNS:evil.example",
        "state-host",
        "asks for evil.example",
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_replica_gets_nothing(kind: str) -> None:
    given, arguments, refusal = HOSTILE[kind]
    done = shell(MEMBER).run(f"({given}) 2>/dev/null | timeout 60 {ASK} {arguments}")
    assert done.stdout.startswith("mcp-tunnel-signer: refused\n"), done.stdout + done.stderr
    assert refusal in done.stdout
    assert "CERTIFICATE" not in done.stdout
    assert "uid=" not in done.stdout


def test_a_hostile_replica_gets_nothing_but_a_server_certificate() -> None:
    """Its request may say what it wants: names, purposes and lifetime are the state host's."""
    asked = " ".join(
        f"-addext {extension}"
        for extension in (
            f"subjectAltName=DNS:{DOMAIN},DNS:*.{DOMAIN},email:root@evil.example",
            "basicConstraints=critical,CA:TRUE",
            "keyUsage=critical,keyCertSign,cRLSign",
            "extendedKeyUsage=clientAuth",
        )
    )
    make = f"openssl req -new -newkey rsa:2048 -nodes -keyout /dev/null -subj /CN=evil {asked}"
    done = shell(MEMBER).run(
        f"(printf 'sign\\n'; {make}) 2>/dev/null | timeout 60 {ASK} state-host"
    )
    word, _, pem = done.stdout.partition("\n")
    assert word == "mcp-tunnel-signer: signed", done.stdout + done.stderr
    made = x509.load_pem_x509_certificate(pem.encode())
    own = stored_certificate(MEMBER)
    assert made.subject == own.subject
    assert lifetime(made) == 4000
    for extension in own.extensions:
        if extension.oid != x509.oid.ExtensionOID.SUBJECT_KEY_IDENTIFIER:
            assert extension in list(made.extensions)
    assert len(list(made.extensions)) == len(list(own.extensions))
    constraints = made.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.value.ca is False


def test_a_hostile_replica_gets_no_port_and_no_file() -> None:
    done = shell(MEMBER).run(
        f"timeout 60 {ASK} -o LogLevel=INFO -W 127.0.0.1:8081 state-host </dev/null || exit 1"
    )
    assert done.rc != 0
    assert "prohibited" in done.stderr
    done = shell(MEMBER).run(
        f"timeout 60 {ASK} -o ExitOnForwardFailure=yes -R 9999:127.0.0.1:22"
        " state-host </dev/null || exit 1"
    )
    assert done.rc != 0
    assert "remote port forwarding failed" in done.stderr
    done = shell(MEMBER).run(f"timeout 60 {ASK} -s state-host sftp </dev/null")
    assert "CERTIFICATE" not in done.stdout + done.stderr
    assert shell(MEMBER).run(f"runuser -u mcp-tunnel-renew -- cat {RENEWAL}/key").rc != 0


def test_the_account_of_ssh_reaches_nothing_else() -> None:
    """Neither on the state host, beside its one socket, nor from the replica."""
    ssh, upstream = f"{LAB['hosts'][0]['address']}/22", "10.77.0.2/8000"
    for user, target, reached in (
        ("root", upstream, True),
        ("mcp-tunnel-renew", ssh, True),
        ("mcp-tunnel-renew", upstream, False),
    ):
        done = shell(MEMBER).run(f"runuser -u {user} -- timeout 60 bash -c '</dev/tcp/{target}'")
        assert (done.rc == 0) == reached, (user, target, done.stderr)
    for path in ("/var/lib/mcp-tunnel/default/ca.key", "/etc/mcp-tunnel/default/tls/tls.key"):
        assert state_host().run(f"runuser -u mcp-tunnel-signer -- cat {path}").rc != 0
    assert state_host().run(f"runuser -u mcp-proxy -- test -w {SOCKET}").rc != 0
    assert state_host().run(f"runuser -u mcp-tunnel-signer -- test -w {SOCKET}").rc == 0


def test_questions_that_hang_disturb_nobody() -> None:
    hanging = " ".join(
        f"(sleep 100 | {ASK} state-host >/tmp/hanging.{each}) &" for each in range(5)
    )
    with due_on(HOSTS[0]):
        shell(MEMBER).check_output(f"nohup sh -c '{hanging} wait' >/dev/null 2>&1 &")
        deadline = time.monotonic() + 90
        while "asks more often" not in shell(MEMBER).run("cat /tmp/hanging.*").stdout:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        # Two of them are still under way.
        assert "renewed, because " in said(HOSTS[0])
    deadline = time.monotonic() + 240
    while state_host().run("ps -o pid= -u mcp-tunnel-signer").stdout.strip():
        assert time.monotonic() < deadline, "questions that hang are not given up"
        time.sleep(0.2)
    shell(MEMBER).check_output("rm -f /tmp/hanging.*")


def test_one_that_the_state_host_has_forgotten_gets_nothing() -> None:
    path = "/var/lib/mcp-tunnel/default/replicas.json"
    state_host().check_output(f"cp --archive {path} /root/replicas.json")
    known = json.loads(state_host().check_output(f"cat {path}"))
    fewer = {**known, "replicas": {HOSTS[0]: known["replicas"][HOSTS[0]]}}
    state_host().check_output(f"printf '%s' '{json.dumps(fewer)}' >{path}")
    try:
        assert f"does not have {MEMBER}" in said(MEMBER, fails=True)
    finally:
        state_host().check_output(f"mv /root/replicas.json {path}")


def moved_state(source: str, target: str) -> None:
    """Move the directory of the state host to another host, as an operator would."""
    ssh = f"ssh -F {RUN / 'ssh_config'}"
    into = "sudo install -d -m 0700 /var/lib/mcp-tunnel && sudo tar -C /var/lib/mcp-tunnel -x"
    # Over a pipe: sudo logs its arguments.
    subprocess.run(
        f"{ssh} {source} sudo tar -C /var/lib/mcp-tunnel -c default | {ssh} {target} '{into}'",
        shell=True,
        check=True,
        timeout=600,
    )
    shell(source).check_output("rm -r /var/lib/mcp-tunnel")


def test_the_signer_moves_with_the_state_host() -> None:
    for source, target in ((HOSTS[0], MEMBER), (MEMBER, HOSTS[0])):
        moved_state(source, target)
        done = play(*ON, "--extra-vars", f"mcp_tunnel_state_host={target}")
        assert done.returncode == 0, done.stdout[-3000:]
        assert "could not renew" not in done.stdout
        assert not shell(source).file(SIGNATORIES).exists
        assert f'--member {source}"' in shell(target).check_output(f"cat {SIGNATORIES}")
        for name in HOSTS:
            assert said(name).startswith("not needed: ")


def test_no_key_is_anywhere_where_somebody_could_read_it() -> None:
    needles = [line for name in HOSTS for line in key_lines(name)]
    # In OpenSSH's form, the secret number is at the end.
    needles.append(shell(MEMBER).check_output(f"cat {RENEWAL}/key").splitlines()[-2])
    assert len(needles) == 2 * (len(HOSTS) + 1) + 1
    for name in HOSTS:
        for place in PLACES:
            assert found(needles, shown(name, place)) == [], (name, place)


def test_a_renewed_certificate_stays_when_a_replica_is_put_back() -> None:
    """The last good state had another certificate, which may have expired by the next failure."""
    with due_on(HOSTS[0]):
        assert said().startswith("renewed, ")
    before = fingerprint(stored_certificate())
    broken = {"mcp_tunnel_routes": {"echo": "http://10.77.0.2:9"}, "mcp_tunnel_health_timeout": 5}
    done = play(*ON, "--limit", HOSTS[0], "--extra-vars", json.dumps(broken))
    assert done.returncode != 0
    assert "was put back to its last good" in done.stdout
    assert fingerprint(stored_certificate()) == before


LATER = (*ON, "--extra-vars", "mcp_tunnel_cert_renew_before=700h")


def test_the_next_run_brings_what_was_lost_and_a_changed_setting() -> None:
    """Another host key, another key of the replica, and the line of it."""
    host = shell(MEMBER)
    other = host.check_output("cat /etc/ssh/ssh_host_ed25519_key.pub").split()[:2]
    host.check_output(f"echo mcp-tunnel-state-host {' '.join(other)} >{RENEWAL}/known_hosts")
    assert "Host key verification failed" in said(MEMBER, fails=True)
    host.check_output(f"rm {RENEWAL}/key {RENEWAL}/key.pub")
    state_host().check_output(f"rm {SIGNATORIES}")
    done = play(*LATER)
    assert done.returncode == 0, done.stdout[-3000:]
    assert said(MEMBER).startswith("not needed: ")
    for name in HOSTS:
        shown = shell(name).check_output(f"systemctl show {NAME}.service")
        assert "--renew-before 700h" in shown
        assert "NeedDaemonReload=no" in shown
        assert shell(name).service(f"{NAME}.timer").is_running


def test_the_next_run_has_nothing_to_do() -> None:
    """Neither the timer's renewal nor the run with longer lifetimes has left anything to do."""
    pids = pids_of_all()
    done = play(*LATER)
    assert done.returncode == 0, done.stdout[-3000:]
    assert all(counters["changed"] == 0 for counters in recap(done.stdout).values()), done.stdout
    assert pids_of_all() == pids


@pytest.mark.exhaustive  # runs in check mode that would change something: up/test_drift.py, too
def test_check_mode_leaves_it_on() -> None:
    done = play("--check", "--limit", HOSTS[0])
    assert recap(done.stdout)[HOSTS[0]]["changed"] > 0
    assert state_host().service(f"{NAME}.timer").is_running


def test_nothing_is_left_of_it_when_it_is_off_again(request: pytest.FixtureRequest) -> None:
    pids = state_host().check_output(PIDS)
    done = play(*TOGETHER)
    assert done.returncode == 0, done.stdout[-3000:]
    assert all(recap(done.stdout)[name]["changed"] > 0 for name in HOSTS)
    units = "systemctl list-units --all --no-legend 'mcp-tunnel-renew-cert*' 'mcp-tunnel-signing*'"
    for name in HOSTS:
        assert shell(name).run(FILES).stdout == ""
        assert shell(name).check_output(units) == ""
    assert state_host().check_output(PIDS) == pids
    # The next whole run, which test_repeat.py judges, too.
    done = request.getfixturevalue("second_run")
    assert done.returncode == 0, done.stdout[-3000:]
    assert all(counters["changed"] == 0 for counters in recap(done.stdout).values()), done.stdout
