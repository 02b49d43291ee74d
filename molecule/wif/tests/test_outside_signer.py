"""A CA whose key is on no host of the tunnel: a program on the state host has requests signed.

The company's CA is openssl's, behind a program of a shell. The tests go on from each other: the
tunnel's CA is replaced by the company's, replicas renew by themselves, the program gives a wrong
answer, the state host is installed anew, and then it makes a CA again.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

import journal
import pytest
from cryptography import x509
from deployed import STATE, all_the_time, fingerprint, none_failed, stored, tunnel
from replicas import HOSTS, make_bare, play, recap, shell, state_host, unquoted
from tunnels_api import active

HOME = "/usr/local/lib/company-ca"
SECRET = "/etc/company-ca.key"
PROGRAM = """#!/bin/sh
test "$(id -u)" != 0 || { echo root must not run this >&2; exit 9; }
names=copy; test ! -e HOME/fault || names=none
exec openssl x509 -req -in /dev/stdin -CA HOME/ca.crt -CAkey "$CREDENTIALS_DIRECTORY/secret" \
    -set_serial "0x$(openssl rand -hex 16)" -days 90 -copy_extensions $names -extfile HOME/$names
""".replace("HOME", HOME)
EXTENSIONS = """basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=serverAuth
authorityKeyIdentifier=keyid:always
"""
CA_EXTENSIONS = """basicConstraints=critical,CA:TRUE
keyUsage=critical,keyCertSign
subjectKeyIdentifier=hash
"""
FILES = {
    "sign": PROGRAM,
    "copy": EXTENSIONS,
    "none": f"{EXTENSIONS}subjectAltName=DNS:evil.example\n",
    "ca.ext": CA_EXTENSIONS,
}
MEMBER = HOSTS[1]
NAME = "mcp-tunnel-renew-cert@default"
DROP_IN = f"/etc/systemd/system/{NAME}.service.d"
CERTIFICATE = "/etc/mcp-tunnel/default/tls/tls.crt"
DUE = ("-e", "mcp_tunnel_cert_duration=2162h", "-e", "mcp_tunnel_cert_renew_before=2161h")
# The highest overall exposure that systemd-analyze may print.
EXPOSURE = 1.5


@pytest.fixture(scope="module", autouse=True)
def company() -> str:
    """The company's CA on the state host. Returns its certificate."""
    host = state_host()
    host.check_output(f"install -d {HOME}")
    for name, content in FILES.items():
        host.check_output("printf %%s %s >%s", content, f"{HOME}/{name}")
    # One that an earlier run of this file has left is that of the tunnel.
    make = (
        f"umask 077; openssl ecparam -genkey -name prime256v1 -noout -out {SECRET}"
        f" && openssl req -new -key {SECRET} -subj '/CN=Company CA' -out request"
        f" && openssl x509 -req -in request -signkey {SECRET} -days 365 -extfile ca.ext -out ca.crt"
        " && chmod 0644 ca.crt"
    )
    host.check_output(f"cd {HOME} && chmod 0755 sign && {{ test -e ca.crt || {{ {make}; }}; }}")
    return str(host.check_output(f"cat {HOME}/ca.crt"))


@pytest.fixture(scope="module")
def elsewhere(company: str) -> tuple[str, str]:
    """The variables of the company's signer, and of the timer."""
    signer = {"source": "command", "command": [f"{HOME}/sign", "$tunnel x"], "secret_file": SECRET}
    variables = {
        "mcp_tunnel_ca_cert": company,
        "mcp_tunnel_signer": signer,
        "mcp_tunnel_cert_renew_timer": True,
    }
    return ("-e", json.dumps(variables))


def certificate(name: str) -> x509.Certificate:
    content = shell(name).check_output(f"cat {CERTIFICATE}")
    return x509.load_pem_x509_certificate(content.encode())


def issuers() -> set[str]:
    return {certificate(name).issuer.rfc4514_string() for name in HOSTS}


@contextlib.contextmanager
def due_on(name: str) -> Iterator[None]:
    """The certificate is due: the unit asks for more than the 90 days of the company."""
    host = shell(name)
    command = host.check_output(f"grep ^ExecStart= /etc/systemd/system/{NAME}.service")
    words = f"{command} --renew-before 2161h --duration 2162h".removeprefix("ExecStart=")
    drop_in = f"[Service]\nExecStart=\nExecStart={words}\n"
    host.check_output(f"mkdir {DROP_IN}")
    host.check_output("printf %%s %s >%s", drop_in, f"{DROP_IN}/test.conf")
    host.check_output("systemctl daemon-reload")
    try:
        yield
    finally:
        host.check_output(f"rm -r {DROP_IN} && systemctl daemon-reload")
        host.run(f"systemctl reset-failed {NAME}.service")


def renewed(name: str) -> tuple[int, str]:
    """Let a replica renew by itself. Return the status of systemctl, and what the unit has said."""
    host = shell(name)
    began = journal.moment(host)
    status = host.run(f"systemctl start {NAME}.service").rc
    return status, journal.logged(host, f"{NAME}.service", began)


def test_a_rotation_brings_a_ca_whose_key_is_elsewhere(
    company: str, elsewhere: tuple[str, str]
) -> None:
    with all_the_time() as calls:
        done = play(*elsewhere, playbook="rotate_ca")
    assert done.returncode == 0, done.stdout[-3000:]
    none_failed(calls)
    assert active(tunnel()) == [fingerprint(company)]
    assert issuers() == {"CN=Company CA"}
    assert [name for name in state_host().file(STATE).listdir() if "key" in name] == []


def test_the_next_run_changes_nothing(elsewhere: tuple[str, str]) -> None:
    done = play(*elsewhere)
    assert done.returncode == 0, done.stdout[-3000:]
    assert all(each["changed"] == 0 for each in recap(done.stdout).values()), done.stdout


def test_each_replica_renews_by_itself_and_no_client_notices() -> None:
    before = {name: certificate(name) for name in HOSTS}
    with all_the_time() as calls:
        for name in HOSTS:
            with due_on(name):
                status, said = renewed(name)
            assert status == 0, said
            assert "renewed, because it ends on " in said
            assert certificate(name).public_key() != before[name].public_key()
    none_failed(calls)
    assert issuers() == {"CN=Company CA"}
    status, said = renewed(MEMBER)
    assert f"the state host would ask {HOME}/sign" in said
    unit = "mcp-tunnel-signing-default@test.service"
    judged = state_host().check_output(f"systemd-analyze security --no-pager {unit}")
    overall = next(line for line in judged.splitlines() if "Overall exposure level" in line)
    assert float(overall.split(": ")[1].split()[0]) <= EXPOSURE


def test_another_name_than_the_asked_ones_costs_no_certificate(
    elsewhere: tuple[str, str],
) -> None:
    before = certificate(MEMBER)
    state_host().check_output(f"touch {HOME}/fault")
    try:
        with due_on(MEMBER):
            status, said = renewed(MEMBER)
        assert status != 0
        assert "has other names than " in said
        assert "The certificate in use stays." in said
        done = play(*elsewhere, *DUE, playbook="renew_cert")
        assert done.returncode != 0
        assert "the answer of the signer (mcp_tunnel_signer): it has other" in unquoted(done.stdout)
        # Check mode does not ask: its answer would be refused as well.
        done = play(*elsewhere, *DUE, "--check", playbook="renew_cert")
        assert done.returncode == 0, done.stdout[-3000:]
        assert all(each["changed"] > 0 for each in recap(done.stdout).values()), done.stdout
    finally:
        state_host().check_output(f"rm {HOME}/fault")
    assert certificate(MEMBER) == before


def test_no_secret_of_the_company_is_in_a_log_or_in_the_state() -> None:
    lines = state_host().check_output(f"sed '/-----/d' {SECRET}").splitlines()
    assert lines
    for name in HOSTS:
        log = journal.read(shell(name), "--boot")
        assert [line for line in lines if line in log] == []
    found = f"grep --recursive --fixed-strings --files-with-matches {lines[0]} /etc /var/lib"
    assert state_host().run(found).stdout.split() == [SECRET]


def test_a_state_host_that_is_bare_is_recovered_and_the_ca_stays(
    company: str, elsewhere: tuple[str, str]
) -> None:
    """Its first certificate, of a release that is not active yet, is the company's as well."""
    made = tunnel()
    with all_the_time() as calls:
        make_bare(HOSTS[0])
        done = play(*elsewhere, "-e", f"mcp_tunnel_id={made['id']}", playbook="recover")
    assert done.returncode == 0, done.stdout[-3000:]
    none_failed(calls)
    assert active(tunnel()) == [fingerprint(company)]
    assert tunnel()["id"] == made["id"]
    assert issuers() == {"CN=Company CA"}
    names = state_host().file(STATE).listdir()
    assert [name for name in names if "key" in name or "previous" in name] == []
    for name in HOSTS:
        status, said = renewed(name)
        assert status == 0, said
        assert f"the state host would ask {HOME}/sign" in said


def test_a_key_of_the_ca_that_is_left_behind_ends_the_run(elsewhere: tuple[str, str]) -> None:
    state_host().check_output(f"install --mode=0600 {SECRET} {STATE}/ca.key")
    try:
        done = play(*elsewhere)
        assert done.returncode != 0
        told = unquoted(done.stdout)
        assert f"{STATE}/ca.key on {HOSTS[0]}: is there, although mcp_tunnel_signer" in told
    finally:
        state_host().check_output(f"rm {STATE}/ca.key")


def test_a_rotation_brings_a_ca_of_the_state_host_again(company: str) -> None:
    with all_the_time() as calls:
        done = play(playbook="rotate_ca")
    assert done.returncode == 0, done.stdout[-3000:]
    none_failed(calls)
    assert active(tunnel()) == [fingerprint(stored("ca.crt"))] != [fingerprint(company)]
    assert issuers() == {"CN=MCP tunnel CA"}
    assert not state_host().file("/etc/mcp-tunnel/default/signer.json").exists
    state_host().check_output(f"rm -r {HOME} {SECRET}")
