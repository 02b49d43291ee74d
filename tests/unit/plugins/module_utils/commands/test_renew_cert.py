from __future__ import annotations

import json
import os
import re
import select
import socket
import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.commands import renew_cert
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki import crypto, signing_channel
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica import (
    records as replica_records,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases import command_source
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import openssl, signing
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.modules import ensured
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

DOMAIN = openssl.DOMAIN
MODULE_UTILS = Path(renew_cert.__file__).parents[1]


@pytest.fixture
def state_host(tmp_path, monkeypatch):
    return signing.StateHost(tmp_path, monkeypatch)


@pytest.fixture
def host(tmp_path, state_host, monkeypatch):
    return signing.Replica(tmp_path, state_host, monkeypatch)


def test_from_nothing_to_a_certificate_that_openssl_accepts(host, tmp_path):
    said = host.renew()
    assert said.startswith("renewed, because there is no readable certificate yet: fingerprint ")
    assert crypto.fingerprint(host.certificate()) in said
    assert sorted(host.contents()) == ["tls.crt", "tls.key"]
    for name, content in host.contents().items():
        assert stat.S_IMODE((host.tls / name).stat().st_mode) == 0o640
        assert content not in said
    openssl.verify(tmp_path, host.state_host.ca, host.contents()["tls.crt"], f"echo.{DOMAIN}")


def test_nothing_is_done_while_more_than_renew_before_remains(host):
    host.renew()
    before = host.contents()
    end = crypto.timestamp(crypto.not_after(host.certificate()))
    said = host.renew(timedelta(days=59))
    assert said.startswith(
        f"not needed: 31 days remain, until {end}; the state host would sign until "
    )
    assert host.contents() == before


def test_what_is_due_gets_a_new_key_and_a_certificate(host):
    host.renew()
    before = host.contents()
    said = host.renew(timedelta(days=61))
    assert "and is due for renewal: fingerprint " in said
    after = host.contents()
    assert all(after[name] != before[name] for name in before)
    end = crypto.not_after(host.certificate())
    assert said.endswith(f", until {crypto.timestamp(end)}")
    assert end == host.state_host.now + timedelta(days=61 + 90)


def test_a_route_that_the_wildcard_does_not_cover(host):
    host.renew()
    host.state_host.options += ["--route", "echo", "--route", f"a.b.{DOMAIN}"]
    assert "does not cover a.b." in host.renew(routes=["echo", f"a.b.{DOMAIN}"])
    assert host.renew(routes=["echo", f"a.b.{DOMAIN}"]).startswith("not needed: ")


def test_what_was_interrupted_is_completed(host):
    host.renew()
    before = host.contents()
    host.renew(timedelta(days=61))
    # Killed between the two renames: the new key is live, its certificate is not.
    os.rename(host.tls / "tls.crt", host.tls / "tls.crt.pending")
    (host.tls / "tls.crt").write_text(before["tls.crt"])
    assert host.renew(timedelta(days=61)).startswith("not needed: 90 days remain")
    assert sorted(host.contents()) == ["tls.crt", "tls.key"]
    key = crypto.load_private_key(host.contents()["tls.key"], "tls.key")
    assert crypto.same_key(key.public_key(), host.certificate().public_key())


def test_a_ca_that_is_about_to_end_is_told(host):
    """Every certificate ends with the CA; a silent timer would let it come to that."""
    host.renew(timedelta(days=120))
    assert host.renew(timedelta(days=121, hours=1)).startswith("not needed: 78 days remain")
    with pytest.raises(renew_cert.TunnelError) as caught:
        host.renew(timedelta(days=175))
    assert caught.value.subject == str(host.configuration / "ca.crt")
    assert "Rotate the CA" in str(caught.value)


def test_a_host_that_is_no_replica(host):
    (host.configuration / "ca.crt").unlink()
    with pytest.raises(renew_cert.TunnelError, match="has no CA certificate") as caught:
        host.renew()
    assert "replica" in caught.value.remedy
    assert host.contents() == {}


def test_a_roll_back_keeps_the_renewed_certificate(host, tmp_path):
    """A roll-back restores the last good files, but never the certificate before its renewal."""
    host.renew()
    other = tmp_path / "proxy.yaml"
    other.write_text("good")
    paths = [str(host.tls / "tls.key"), str(host.tls / "tls.crt"), str(other)]
    records = replica_records.Records("default", host.records)
    record = {"unit": {"files": {path: replica_records.file_state(path) for path in paths}}}
    for name in ("applied", "good"):
        records.store(name, record)
    for path in paths:
        records.keep(record["unit"]["files"][path]["digest"], Path(path).read_bytes())
    other.write_text("not proven")
    host.renew(timedelta(days=61))
    for name in ("applied", "good"):
        files = records.load(name)["unit"]["files"]
        assert sorted(files) == sorted(paths)
        for path in paths[:2]:
            assert records.content(files[path]["digest"]) == Path(path).read_bytes()
        assert records.content(files[str(other)]["digest"]) == b"good"
    kept = [path for path in (host.records / "default").iterdir() if path.suffix != ".json"]
    assert len(kept) == 3, "the old pair is forgotten"


@pytest.mark.parametrize(
    ("of_the_host", "of_the_replica", "text"),
    [
        (["--duration", "40d"], {"duration": "40d"}, "accepts 40d, and this host signs for 2160h"),
        (["--route", f"a.b.{DOMAIN}"], {"routes": [f"a.b.{DOMAIN}"]}, f"asks for *.{DOMAIN}, "),
    ],
)
def test_a_state_host_with_other_settings_is_told_on_the_first_day(
    host, of_the_host, of_the_replica, text
):
    """As a variable of one host makes them: the run signs with those of the replica."""
    before = host.state_host.options
    host.state_host.options = before + of_the_host
    host.renew(**of_the_replica)
    assert host.renew(**of_the_replica).startswith("not needed: ")
    host.state_host.options = before
    with pytest.raises(renew_cert.TunnelError) as caught:
        host.renew(timedelta(days=1), **of_the_replica)
    assert text in str(caught.value)
    assert "Give both hosts the same" in caught.value.remedy


def test_a_state_host_with_another_ca_is_told_on_the_first_day(host, tmp_path):
    host.renew()
    other = ensured("tunnel_ca", path=str(tmp_path / "other"), duration="200d")["certificate"]
    for name in ("ca.crt", "ca.key"):
        os.replace(tmp_path / "other" / name, host.state_host.credentials / name)
    with pytest.raises(renew_cert.TunnelError, match="has another CA"):
        host.renew(timedelta(days=1))
    (host.configuration / "ca.crt").write_text(other)
    assert host.renew(timedelta(days=1)).startswith("renewed, because it is not signed")


def older(host):
    """Return a signer of a release that knows no terms."""

    def converse(connection):
        asked = signing_channel.read_all(connection.fileno(), 10)
        old_form = re.compile(rb"check\n|sign\n-----BEGIN[^-]+-----\n[^-]+-----END[^-]+-----\n")
        if not old_form.fullmatch(asked):
            parts = ["the question", "is none that is known here", "Run the site playbook on both"]
            connection.sendall(f"mcp-tunnel-signer: refused\n{json.dumps(parts)}".encode())
            return
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.sendall(asked)
            ours.shutdown(socket.SHUT_WR)
            host.state_host.converse(theirs)
            connection.sendall(ours.recv(signing_channel.MOST_BYTES))

    return converse


def test_a_state_host_with_an_older_release_is_asked_as_before(host):
    """During an upgrade, the replica may have the newer one."""
    renewal = renew_cert.Renewal("default", DOMAIN, [], "90d", "30d")
    with host.state_host.listening(older(host)):
        assert renew_cert.renew(renewal).startswith("renewed, ")
        said = renew_cert.renew(renewal)
    assert said.startswith("not needed: ")
    assert said.endswith("its release is older than this one, and compares no settings")


def test_the_last_success_is_remembered(host):
    remembered = host.records / "default" / "renewal.json"
    host.renew()
    for days in (0, 61):
        remembered.unlink()
        host.renew(timedelta(days=days))
        assert remembered.exists()
    os.utime(remembered, (0, 0))
    told(host, saying("Permission denied\n"))
    assert remembered.stat().st_mtime == 0


def refusing(host, answers, times):
    """Return a signer that answers so often with these words, and well after that."""
    left = [answers] * times

    def converse(connection):
        if left:
            saying(left.pop())(connection)
        else:
            host.state_host.converse(connection)

    return converse, left


BUSY = [
    "",
    "ssh: connect to host 10.0.0.1 port 22: Connection refused\n",
    "kex_exchange_identification: Connection closed by remote host\n",
    "kex_exchange_identification: read: Connection reset by peer\n",
    "Connection closed by 10.0.0.1 port 22\n",
    "kex_exchange_identification: banner line 0: Exceeded MaxStartups\n",
    "kex_exchange_identification: banner line 0: Not allowed at this time\n",
    'mcp-tunnel-signer: refused\n["b", "asks more often than its questions are answered", "x"]',
]


@pytest.mark.parametrize("answer", BUSY)
def test_one_that_is_busy_is_asked_again(host, answer):
    converse, left = refusing(host, answer, 3)
    with host.state_host.listening(converse):
        said = renew_cert.renew(renew_cert.Renewal("default", DOMAIN, [], "90d", "30d"))
    assert said.startswith("renewed, ")
    assert left == []


@pytest.mark.parametrize(
    ("answer", "attempts"),
    [*((answer, 5) for answer in BUSY), ("Permission denied (publickey).", 1), ("hm", 1)],
)
def test_it_is_not_asked_for_ever_nor_again_where_that_is_of_no_use(host, answer, attempts):
    converse, left = refusing(host, answer, 50)
    told(host, converse)
    assert 50 - len(left) == attempts


def test_no_attempt_begins_when_the_time_is_over(host, monkeypatch):
    monkeypatch.setattr(signing_channel, "_PAUSES", (3600.0,))
    converse, left = refusing(host, "", 50)
    told(host, converse)
    assert len(left) == 49


ARGUMENTS = ["--instance", "default", "--domain", DOMAIN]


def test_the_command(host, capsys):
    arguments = [*ARGUMENTS, "--renew-before", "30d", "--duration", "90d"]
    with host.state_host.listening():
        assert renew_cert.main([*arguments, "--route", "echo"]) == 0
        assert capsys.readouterr().out.startswith("renewed, ")
        assert renew_cert.main(arguments) == 0
    assert capsys.readouterr().out.startswith("not needed: ")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--instance", "other"], "other: has no CA certificate of instance 'other'"),
        (["--renew-before", "soon"], "renew_before: 'soon' is not"),
        (["--duration", "30d"], "is not shorter than the duration 30d"),
        (["--route", "a b"], "'a b' is not a host name"),
        (["--instance", "../default"], "'../default' is no name of an instance"),
        ([], "sockets/default: cannot be asked: No such file or directory. Run the site playbook"),
    ],
)
def test_what_is_wrong_is_told_on_stderr(host, capsys, arguments, text):
    assert renew_cert.main([*ARGUMENTS, *arguments]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert text in output.err
    assert len(output.err.splitlines()) == 1
    assert "tls.crt" not in host.contents()


def test_a_directory_where_a_file_should_be(host, capsys):
    (host.configuration / "ca.crt").unlink()
    (host.configuration / "ca.crt").mkdir()
    assert renew_cert.main(ARGUMENTS) == 1
    assert "ca.crt: is not a regular file" in capsys.readouterr().err


def told(host, converse):
    """Renew when something else answers in the signer's place; return the error."""
    with host.state_host.listening(converse), pytest.raises(renew_cert.TunnelError) as caught:
        renew_cert.renew(renew_cert.Renewal("default", DOMAIN, [], "90d", "30d"))
    return caught.value


def saying(text):
    def converse(connection):
        signing_channel.read_all(connection.fileno(), 10)
        connection.sendall(text.encode())

    return converse


def usage(**used):
    """Return a KeyUsage with these purposes and no other."""
    none = dict.fromkeys(
        (
            *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
            *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
        ),
        False,
    )
    return x509.KeyUsage(**{**none, **used})


def forged(host, **changes):
    """Return a signer that has the CA's key and signs something else than was asked for."""

    def converse(connection):
        asked = signing_channel.read_all(connection.fileno(), 10)
        request = signing_channel.parse_question(asked).request
        subject = x509.load_pem_x509_csr(request.encode())
        ca = crypto.load_certificate(host.state_host.ca, "CA")
        key = (host.state_host.credentials / "ca.key").read_text()
        asked_for = {
            "domain": DOMAIN,
            "public_key": subject.public_key(),
            "is_ca": False,
            "days": 90,
            "more_names": [],
            "extensions": [],
            **changes,
        }
        names = [x509.DNSName(f"*.{asked_for['domain']}"), x509.DNSName(asked_for["domain"])]
        names += asked_for["more_names"]
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject.subject)
            .issuer_name(ca.subject)
            .public_key(asked_for["public_key"])
            .serial_number(1)
            .not_valid_before(host.state_host.now - timedelta(days=10))
            .not_valid_after(host.state_host.now + timedelta(days=asked_for["days"]))
            .add_extension(x509.BasicConstraints(asked_for["is_ca"], None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(
                    ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
                ),
                critical=False,
            )
        )
        for extension in asked_for["extensions"]:
            builder = builder.add_extension(extension, critical=False)
        signing_key = serialization.load_pem_private_key(key.encode(), None)
        certificate = builder.sign(signing_key, hashes.SHA256())
        pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
        connection.sendall(f"mcp-tunnel-signer: signed\n{pem}".encode())

    return converse


SERVER_AUTH = x509.oid.ExtendedKeyUsageOID.SERVER_AUTH
CLIENT_AUTH = x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH


@pytest.mark.parametrize(
    "extensions", [[], [usage(digital_signature=True), x509.ExtendedKeyUsage([SERVER_AUTH])]]
)
def test_the_forged_answers_below_are_refused_for_what_is_wrong_with_them(host, extensions):
    with host.state_host.listening(forged(host, extensions=extensions)):
        said = renew_cert.renew(renew_cert.Renewal("default", DOMAIN, [], "90d", "30d"))
    assert said.startswith("renewed, ")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"is_ca": True}, "it is a CA's certificate"),
        ({"days": 91}, "longer than was asked for"),
        ({"days": -1}, "it has expired"),
        ({"domain": "other.tunnel.example"}, "it has other names than *."),
        ({"more_names": [x509.DNSName("evil.example")]}, "it has other names than *."),
        ({"more_names": [x509.RFC822Name("root@evil.example")]}, "it has other names than *."),
        (
            {"public_key": ec.generate_private_key(ec.SECP256R1()).public_key()},
            "does not belong to the key",
        ),
        ({"extensions": [usage(key_cert_sign=True, digital_signature=True)]}, "KeyUsage"),
        ({"extensions": [usage(key_encipherment=True)]}, "KeyUsage"),
        ({"extensions": [x509.ExtendedKeyUsage([CLIENT_AUTH])]}, "ExtendedKeyUsage"),
        ({"extensions": [x509.ExtendedKeyUsage([SERVER_AUTH, CLIENT_AUTH])]}, "ExtendedKeyUsage"),
    ],
)
def test_what_the_state_host_forges_is_not_installed(host, changes, text):
    host.renew()
    before = host.contents()
    host.state_host.after(timedelta(days=61))
    host.state_host.now += timedelta(days=61)
    assert text in str(told(host, forged(host, **changes)))
    after = host.contents()
    assert {name: after[name] for name in before} == before


def test_the_certificate_that_is_here_is_no_answer(host):
    """It would be installed and reported as renewed, and end when it ends."""
    host.renew()
    before = host.contents()
    host.state_host.after(timedelta(days=61))
    error = told(host, saying(f"mcp-tunnel-signer: signed\n{before['tls.crt']}"))
    assert "it does not belong to the key of the request" in str(error)
    after = host.contents()
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("", "cannot be asked: the connection ended without a word. Look at the logs of sshd"),
        (
            "Host key verification failed.\n",
            "Host key verification failed. The state host has another",
        ),
        (
            "mcp-tunnel-signer@10.0.0.1: Permission denied (publickey).\n",
            "Permission denied (publickey). Run the site playbook. If that does not help, sshd",
        ),
        (
            "ssh: connect to host 10.0.0.1 port 22: Connection timed out\n",
            "Connection timed out. Let this replica reach the SSH port",
        ),
        ("\x1b]0;owned\x07", "cannot be asked: \\x1b]0;owned\\x07. Look at"),
        ("mcp-tunnel-signer: refused\n[1]", "gives an answer that is none"),
        ("mcp-tunnel-signer: refused\n" + "[" * 9000, "gives an answer that is none"),
        ("mcp-tunnel-signer: ready\nwould sign", "gives an answer that is none"),
        ("mcp-tunnel-signer: signed\nno certificate", "is not a PEM certificate"),
        ("x" * 20000, "has sent more than 16384 bytes"),
        (
            'mcp-tunnel-signer: refused\n["replicas.json", "does not have you", "Do this"]',
            "on the state host, replicas.json: does not have you. Do this.",
        ),
    ],
)
def test_what_is_no_certificate_is_told_in_words(host, answer, text):
    error = told(host, saying(answer))
    assert text in str(error)
    assert "tls.crt" not in host.contents()


def test_ssh_may_warn_before_the_answer_comes(host):
    host.renew()
    with host.state_host.listening(saying("Warning: x\nmcp-tunnel-signer: ready\nwould sign")):
        said = renew_cert.renew(renew_cert.Renewal("default", DOMAIN, [], "90d", "30d"))
    assert said.endswith("the state host would sign")


@pytest.mark.parametrize(
    "answer",
    [
        "mcp-tunnel-signer: ready\nwould\nrenewed, because \x1b[2J",
        'mcp-tunnel-signer: refused\n["a\\nb", "c\\u001b[2J\\nd", "e"]',
    ],
)
def test_words_of_the_state_host_are_one_line(host, capsys, answer):
    host.renew()
    with host.state_host.listening(saying(answer)):
        renew_cert.main(ARGUMENTS)
    output = capsys.readouterr()
    assert len((output.out + output.err).splitlines()) == 1
    assert "\x1b" not in output.out + output.err


def test_a_channel_that_is_broken_fails_long_before_a_certificate_is_due(host):
    host.renew()
    error = told(host, saying("Permission denied\n"))
    assert "Permission denied" in str(error)


def test_one_that_hangs_is_given_up(host, monkeypatch):
    monkeypatch.setattr(signing_channel.ask, "__defaults__", (0.2,))
    # It reads until the replica has gone, and says nothing.
    error = told(
        host, lambda connection: [*iter(lambda: connection.recv(4096) or wait(connection), None)]
    )
    assert "has not ended within" in str(error)


def wait(connection):
    """Return when the other side of a connection is gone, and not only its half."""
    poller = select.poll()
    poller.register(connection, 0)
    poller.poll(20_000)


def test_a_run_and_the_timer_at_once_install_what_was_signed_last(host, state_host):
    """Both have sent the request of one pending key; the first certificate makes it live."""
    options = {
        "path": str(host.tls),
        "domain": DOMAIN,
        "ca_certificate": state_host.ca,
        "owner": renew_cert.OWNER,
        "group": renew_cert.GROUP,
    }
    requested = ensured("server_cert", state="requested", **options)["csr"]
    host.renew()
    signed = ensured(
        "server_cert",
        state="signed",
        path=str(state_host.credentials),
        domain=DOMAIN,
        csr=requested,
    )["certificate"]
    assert signed != host.contents()["tls.crt"]
    installed = ensured("server_cert", state="installed", certificate=signed, **options)
    assert installed["changed"]
    assert host.contents()["tls.crt"] == signed
    assert sorted(host.contents()) == ["tls.crt", "tls.key"]
    key = crypto.load_private_key(host.contents()["tls.key"], "tls.key")
    assert crypto.same_key(key.public_key(), host.certificate().public_key())


@pytest.mark.parametrize(
    ("command", "arguments", "said"),
    [
        ("renew_cert", ["--instance", "nowhere", "--domain", DOMAIN], "nowhere: has no CA"),
        ("pass_question", ["--instance", "nowhere", "--member", "a"], ""),
        ("sign_cert", ["--instance", "nowhere", "--state-host", "a"], "none that is known here"),
    ],
)
def test_it_runs_without_ansible(tmp_path, command, arguments, said):
    """Its launcher runs it like this, in an isolated Python with only its release's content."""
    package = tmp_path / command_source.PACKAGE.replace(".", "/")
    package.mkdir(parents=True)
    for path in command_source.needed_files(MODULE_UTILS, f"commands.{command}"):
        copy = package / path.relative_to(MODULE_UTILS)
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(path.read_text())
    program = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}]\n"
        f"from {command_source.PACKAGE}.commands.{command} import main\n"
        f"code = main({arguments!r})\n"
        "sys.exit(code if 'ansible' not in sys.modules else 'ansible was imported')"
    )
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.shutdown(socket.SHUT_WR)
        done = subprocess.run(
            [sys.executable, "-IS", "-c", program],
            stdin=theirs, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert said in done.stderr + done.stdout
    assert "ansible was" not in done.stderr
    assert "Traceback" not in done.stderr
