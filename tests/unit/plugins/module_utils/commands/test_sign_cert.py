"""What the signer of a state host signs, refuses and logs."""

from __future__ import annotations

import os
import re
import socket
from datetime import timedelta

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.commands import (
    pass_question,
    sign_cert,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki import crypto, signing_channel
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki.server import make_request
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import openssl, signing
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

DOMAIN = openssl.DOMAIN
CHECK, SIGN = signing_channel.CHECK, signing_channel.SIGN


@pytest.fixture
def state_host(tmp_path, monkeypatch):
    return signing.StateHost(tmp_path, monkeypatch)


def ask(state_host, asked, member=signing.MEMBER):
    """Return the answer to a question of a member, as the account of sshd hands it on."""
    state_host.by_root = False
    if member:
        asked = f"member {member}\n".encode() + asked
    with state_host.listening():
        return signing_channel.exchange(str(state_host.path), asked, 10).decode()


OTHER_CA = "0" * 64


def terms(state_host, **changes):
    """Return the lines in which a replica says what it asks for."""
    ca = openssl.run("x509", "-noout", "-fingerprint", "-sha256", stdin=state_host.ca)
    said = {
        "instance": "default",
        "duration": "2160h",
        "ca": ca.strip().rpartition("=")[2].replace(":", "").lower(),
        "names": f"*.{DOMAIN} {DOMAIN}",
        **changes,
    }
    return "".join(f"{name} {value}\n" for name, value in said.items())


def request(domain=DOMAIN, key=None):
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        return make_request(key or crypto.generate_key(), domain, [])
    names = x509.SubjectAlternativeName([x509.DNSName(domain), x509.DNSName(f"*.{domain}")])
    unsigned = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return crypto.pem_of(unsigned.add_extension(names, critical=False).sign(key, None))


def test_a_member_gets_a_certificate_that_openssl_accepts(state_host, tmp_path):
    answer = ask(state_host, f"{SIGN}\n{request()}".encode())
    word, _line_break, pem = answer.partition("\n")
    assert word == "mcp-tunnel-signer: signed"
    openssl.verify(tmp_path, state_host.ca, pem, f"echo.{DOMAIN}")
    fingerprint = crypto.fingerprint(crypto.load_certificate(pem, "answer"))
    assert len(state_host.log) == 1
    assert state_host.log[0].startswith(f"replica2: signed: fingerprint {fingerprint}, until 20")


def test_names_and_lifetime_are_those_of_the_state_host(state_host):
    state_host.options += ["--duration", "40d", "--route", f"a.b.{DOMAIN}"]
    asked = make_request(crypto.generate_key(), DOMAIN, [f"a.b.{DOMAIN}"])
    pem = ask(state_host, f"{SIGN}\n{asked}".encode()).partition("\n")[2]
    certificate = crypto.load_certificate(pem, "answer")
    assert crypto.not_after(certificate) == state_host.now + timedelta(days=40)
    assert "asks for" in ask(state_host, f"{SIGN}\n{request()}".encode())


def test_a_request_chooses_nothing_but_the_key(state_host):
    """What a replica that was taken over would ask for: a CA, other purposes, other names."""
    key = crypto.generate_key()
    none = dict.fromkeys(
        (
            *("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
            *("encipher_only", "decipher_only"),
        ),
        False,
    )
    names = [x509.DNSName(DOMAIN), x509.DNSName(f"*.{DOMAIN}"), x509.RFC822Name("root@example.org")]
    wanted = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "evil.example")]))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=True, key_cert_sign=True, crl_sign=True, **none),
            critical=True,
        )
        .add_extension(
            x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    pem = ask(state_host, f"{SIGN}\n{crypto.pem_of(wanted)}".encode()).partition("\n")[2]
    made = crypto.load_certificate(pem, "answer")
    values = {type(each.value).__name__: each.value for each in made.extensions}
    assert made.public_key() == key.public_key()
    assert [each.value for each in made.subject] == [DOMAIN]
    assert values["BasicConstraints"].ca is False
    usage = values["KeyUsage"]
    assert (usage.digital_signature, usage.key_cert_sign, usage.crl_sign) == (True, False, False)
    assert list(values["ExtendedKeyUsage"]) == [x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]
    assert sorted(each.value for each in values["SubjectAlternativeName"]) == [
        f"*.{DOMAIN}",
        DOMAIN,
    ]
    assert crypto.not_after(made) == state_host.now + timedelta(days=90)


def test_a_check_signs_nothing(state_host, monkeypatch):
    monkeypatch.setattr(sign_cert, "sign", lambda *arguments, **more: pytest.fail("signed"))
    answer = ask(state_host, f"{CHECK}\n".encode())
    end = crypto.timestamp(state_host.now + timedelta(days=90))
    assert answer == f"mcp-tunnel-signer: ready\nwould sign until {end}"
    assert state_host.log == [f"replica2: would sign until {end}"]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, ""),
        ({"duration": "90d"}, ""),
        ({"duration": "4000h"}, ""),
        ({"duration": "40d"}, "accepts 40d, and this host signs for 2160h"),
        ({"duration": "soon"}, "'soon' is not a duration"),
        ({"instance": "second"}, "is instance second there, and default here"),
        ({"ca": OTHER_CA}, f"has another CA ({OTHER_CA}) than this host"),
        ({"names": f"*.{DOMAIN} {DOMAIN} a.b.{DOMAIN}"}, f"a.b.{DOMAIN} and not for *.{DOMAIN}"),
        ({"names": "*.other.example other.example"}, "asks for *.other.example, other.example"),
    ],
)
def test_a_check_is_judged_as_a_request_is(state_host, changes, text):
    """Settings of a host that differ are found on the first day, not when it is due."""
    said = terms(state_host, **changes)
    answers = {
        CHECK: ask(state_host, f"{CHECK}\n{said}".encode()),
        SIGN: ask(state_host, f"{SIGN}\n{said}{request()}".encode()),
    }
    if text:
        assert len(set(answers.values())) == 1
        assert answers[CHECK].startswith("mcp-tunnel-signer: refused\n")
        assert text in answers[CHECK]
    else:
        assert answers[CHECK].startswith("mcp-tunnel-signer: ready\nwould sign until ")
        assert answers[SIGN].startswith("mcp-tunnel-signer: signed\n-----BEGIN CERTIFICATE")


def test_all_differences_are_named_at_once(state_host):
    said = terms(state_host, instance="b", ca=OTHER_CA, duration="1h", names="x.example")
    answer = ask(state_host, f"{CHECK}\n{said}".encode())
    for word in ("asks for x.example", "is instance b there", "another CA", "accepts 1h"):
        assert word in answer


@pytest.mark.parametrize(
    "said",
    [
        "instance default\n",
        "names a\nca " + "0" * 64 + "\n",
        "instance ../x\nduration 1h\nca " + "0" * 64 + "\nnames a\n",
        "instance a\nduration 1h\nca 0\nnames a\n",
        "instance a\nduration 1h\nca " + "0" * 64 + "\nnames \n",
        "instance a\nduration 1h\nca " + "0" * 64 + "\nnames a\x1b[2J\n",
    ],
)
def test_terms_that_are_none(state_host, said):
    assert "none that is known here" in ask(state_host, f"{CHECK}\n{said}".encode())


@pytest.mark.parametrize("verb", [CHECK, SIGN])
def test_one_that_was_forgotten_gets_nothing(state_host, verb):
    state_host.know(signing.HOST)
    answer = ask(state_host, f"{verb}\n{request() if verb == SIGN else ''}".encode())
    assert answer.startswith("mcp-tunnel-signer: refused\n")
    assert "does not have replica2" in answer
    assert "CERTIFICATE" not in answer
    assert "refused: replicas.json: does not have replica2" in state_host.log[0]


def test_root_asks_in_the_name_of_the_state_host(state_host):
    with state_host.listening():
        assert signing_channel.ask(
            str(state_host.path), signing_channel.Question(CHECK)
        ).startswith("would sign until ")
    assert state_host.log[0].startswith("replica1: would sign")


@pytest.mark.parametrize(
    ("asked", "member", "text"),
    [
        (f"{CHECK}\n", "", "names no replica"),
        (f"member replica1\n{CHECK}\n", "replica2", "none that is known here"),
        ("", "replica2", "none that is known here"),
        ("revoke\n", "replica2", "none that is known here"),
        (f"{SIGN}\n", "replica2", "none that is known here"),
        (f"{CHECK}\nmore", "replica2", "none that is known here"),
        (f"{CHECK}\n", "a b", "none that is known here"),
        (f"{CHECK}\n", "../../etc", "none that is known here"),
        (f"{SIGN}\nno request", "replica2", "none that is known here"),
        (f"{SIGN}\n\xff", "replica2", "none that is known here"),
        (f"{SIGN}\n" + "A" * 16384, "replica2", "has sent more than 16384 bytes"),
        (f"{SIGN}\n" + request("other.tunnel.example"), "replica2", "asks for"),
        (
            f"{SIGN}\n" + request(key=ed25519.Ed25519PrivateKey.generate()),
            "replica2",
            "neither RSA",
        ),
        (f"{SIGN}\n" + request(key=rsa.generate_private_key(65537, 1024)), "replica2", "1024 bits"),
        (
            f"{SIGN}\n" + request(key=ec.generate_private_key(ec.SECP256K1())),
            "replica2",
            "secp256k1",
        ),
        (f"{SIGN}\n" + request().replace("MII", "MIJ", 1), "replica2", "request"),
        (f"{SIGN}\n" + request() * 2, "replica2", "none that is known here"),
        (
            f"{SIGN}\n" + re.sub(r"-----\n[^-]*", "-----\nAAAA\n", request(), count=1),
            "replica2",
            "is not a certificate request",
        ),
    ],
)
def test_what_is_refused(state_host, asked, member, text):
    answer = ask(state_host, asked.encode("latin-1"), member)
    assert answer.startswith("mcp-tunnel-signer: refused\n")
    assert text in answer
    assert "BEGIN" not in answer
    assert "refused: " in state_host.log[0]
    assert "\n" not in state_host.log[0]


def test_a_name_writes_no_line_of_the_log(state_host):
    name = x509.DNSName("evil\nreplica1: signed: fingerprint 00\x1b[2J" + "x" * 3000)
    wanted = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(x509.SubjectAlternativeName([name]), critical=False)
        .sign(crypto.generate_key(), hashes.SHA256())
    )
    answer = ask(state_host, f"{SIGN}\n{crypto.pem_of(wanted)}".encode())
    assert answer.startswith("mcp-tunnel-signer: refused\n")
    (line,) = state_host.log
    assert line.startswith("replica2: refused: csr: asks for evil replica1: signed")
    assert "\n" not in line
    assert "\x1b" not in line
    assert len(line) < 1100


def test_a_ca_that_cannot_sign_is_told(state_host):
    (state_host.credentials / "ca.key").write_text("no key")
    answer = ask(state_host, f"{CHECK}\n".encode())
    assert "ca.key" in answer
    assert "cannot be read" in answer


def test_one_that_sends_slowly_is_given_up(state_host, monkeypatch):
    monkeypatch.setattr(sign_cert, "_SECONDS", 0.2)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(b"check")
        state_host.converse(theirs)
        assert b"has not ended within" in ours.recv(4096)


def test_one_that_does_not_listen_any_more_disturbs_nobody(state_host):
    ours, theirs = socket.socketpair()
    with theirs:
        ours.sendall(b"check\n")
        ours.close()
        state_host.converse(theirs)
    assert "it was not there any more to hear that" in state_host.log[0]


def passed_on(
    monkeypatch, capfdbinary, asked, arguments=("--instance", "default", "--member", "replica2")
):
    """Hand on a question as the command of sshd; return what it says."""
    reading, writing = os.pipe()
    # Less than a pipe holds (pipe(7)).
    assert os.write(writing, asked) == len(asked)
    os.close(writing)
    kept = os.dup(0)
    os.dup2(reading, 0)
    try:
        assert pass_question.main(list(arguments)) == 0
    finally:
        os.dup2(kept, 0)
        for descriptor in (kept, reading):
            os.close(descriptor)
    return capfdbinary.readouterr().out.decode()


def test_a_question_is_handed_on_in_the_name_of_the_key(state_host, monkeypatch, capfdbinary):
    state_host.by_root = False
    with state_host.listening():
        said = passed_on(monkeypatch, capfdbinary, b"check\n")
        # Nobody speaks for another replica.
        other = passed_on(monkeypatch, capfdbinary, b"member replica1\ncheck\n")
    assert said.startswith("mcp-tunnel-signer: ready\nwould sign until ")
    assert state_host.log[0].startswith("replica2: ")
    assert other.startswith("mcp-tunnel-signer: refused\n")


def test_what_is_too_much_or_too_slow_does_not_reach_the_signer(
    state_host, monkeypatch, capfdbinary
):
    with state_host.listening():
        assert "more than 16384" in passed_on(monkeypatch, capfdbinary, b"A" * 30_000)
        monkeypatch.setattr(pass_question, "_SECONDS", 0.2)
        reading, writing = os.pipe()
        kept = os.dup(0)
        os.dup2(reading, 0)
        try:
            assert pass_question.main(["--instance", "default", "--member", "replica2"]) == 0
        finally:
            os.dup2(kept, 0)
            for descriptor in (kept, reading, writing):
                os.close(descriptor)
    assert "has not ended within" in capfdbinary.readouterr().out.decode()
    assert state_host.log == []


def test_a_state_host_without_a_signer_says_so(state_host, monkeypatch, capfdbinary):
    said = passed_on(monkeypatch, capfdbinary, b"check\n")
    assert said.startswith("mcp-tunnel-signer: refused\n")
    assert "cannot be asked" in said


def test_one_member_does_not_keep_the_others_waiting(state_host, monkeypatch, capfdbinary):
    monkeypatch.setattr(pass_question, "_of_the_same", lambda *named: iter([1, 2, 3]))
    with state_host.listening():
        said = passed_on(monkeypatch, capfdbinary, b"check\n")
    assert "asks more often than its questions are answered" in said
    assert state_host.log == []


@pytest.mark.parametrize(
    "error",
    [
        TunnelError("a", "b" * 5000, "c"),
        TunnelError("\x1b[2J", "-----BEGIN EC PRIVATE KEY-----\nx", "c"),
    ],
)
def test_a_refusal_fits_into_an_answer(error):
    said = signing_channel.refusal(error).decode()
    assert len(said) < 8000
    assert "\x1b" not in said
    assert "PRIVATE" not in said
