"""Certificates that a program of the operator has signed, with a CA whose key is elsewhere."""

from __future__ import annotations

import grp
import json
import os
import pwd
import re
import time
from datetime import timedelta
from pathlib import Path

import jinja2
import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki import crypto, outside
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.signer import program, settings
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import openssl, signing
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.fakes.company import (
    EXTENSIONS,
    Company,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.modules import (
    ensured,
    refused,
    run_module,
)

DOMAIN = openssl.DOMAIN
OWNER = {
    "owner": pwd.getpwuid(os.geteuid()).pw_name,
    "group": grp.getgrgid(os.getegid()).gr_name,
}
TEMPLATE = Path(program.__file__).parents[3] / "roles/proxy/templates/signer.service.j2"


@pytest.fixture
def company(tmp_path, monkeypatch):
    # Not in a unit of its own, also where the tests are root's.
    monkeypatch.setattr(program, "_SYSTEMD", str(tmp_path / "none"))
    return Company(tmp_path / "company")


class Stage:
    """A state host that has the company's CA without its key, and a replica."""

    def __init__(self, directory, company):
        self.company = company
        self.state, self.tls = directory / "state", directory / "tls"
        self.tls.mkdir(parents=True)
        ensured("tunnel_ca", path=str(self.state), certificate=company.ca)
        (self.state / "tunnel-domain").write_text(DOMAIN)

    def request(self, **changes):
        given = {"state": "requested", "path": str(self.tls), "domain": DOMAIN, **OWNER}
        return ensured("server_cert", **given, ca_certificate=self.company.ca, **changes)

    def arguments(self, csr, **changes):
        given = {"state": "signed", "path": str(self.state), "domain": DOMAIN, "csr": csr}
        return {**given, "signer": self.company.settings, **changes}

    def install(self, certificate):
        given = {"state": "installed", "path": str(self.tls), "domain": DOMAIN, **OWNER}
        return ensured(
            "server_cert", **given, ca_certificate=self.company.ca, certificate=certificate
        )

    def refusal(self, **changes):
        """Return why the answer to a good request is not taken."""
        return refused("server_cert", **self.arguments(self.request()["csr"], **changes))


@pytest.fixture
def stage(tmp_path, company):
    return Stage(tmp_path / "hosts", company)


def test_a_certificate_of_the_company_that_openssl_accepts(stage, tmp_path):
    signed = run_module("server_cert", **stage.arguments(stage.request()["csr"]))
    assert not signed.failed, signed.message
    pem = signed.result["certificate"]
    openssl.verify(tmp_path / "judge", stage.company.ca, pem, f"echo.{DOMAIN}")
    assert signed.result["names"] == [f"*.{DOMAIN}", DOMAIN]
    assert stage.install(pem)["changed"]
    assert not stage.request()["needed"]
    assert sorted(path.name for path in stage.state.iterdir()) == ["ca.crt", "tunnel-domain"]
    # No shell has read the arguments, and no line of the secret is anywhere.
    assert stage.company.runs == ["--profile $HOME; exit 7"]
    for line in stage.company.secret.read_text().splitlines()[1:-1]:
        assert line not in signed.everything


def test_check_mode_asks_for_no_signature(stage):
    csr = stage.request()["csr"]
    done = run_module("server_cert", check=True, **stage.arguments(csr))
    assert (done.result["certificate"], stage.company.runs) == ("", [])


def test_the_chain_and_words_around_it_are_left_out(stage, tmp_path):
    company = stage.company
    command = company.path.with_name("sign-csr")
    signing_script = command.read_text().replace("exec openssl", "openssl")
    command.write_text(f"{signing_script}\necho the chain:\ncat {company.certificate}")
    signed = ensured("server_cert", **stage.arguments(stage.request()["csr"]))
    assert signed["certificate"].count("BEGIN") == 1
    openssl.verify(tmp_path / "judge", company.ca, signed["certificate"], f"echo.{DOMAIN}")


def extensions(**changes):
    """Return the program's extensions with other values."""
    given = dict(line.split("=", 1) for line in EXTENSIONS.split())
    return "\n".join(f"{name}={value}" for name, value in {**given, **changes}.items())


OTHER = f"subjectAltName=DNS:*.{DOMAIN},DNS:{DOMAIN},DNS:evil.example"
ANSWERS = {
    "another name": ({"extensions": f"{EXTENSIONS}{OTHER}", "copy": "none"}, "has other names"),
    "no name": ({"copy": "none"}, "has other names than"),
    "a CA": ({"extensions": extensions(basicConstraints="critical,CA:TRUE")}, "a CA's certificate"),
    "a year too long": ({"days": "455"}, "longer than was asked for"),
    "too short": ({"days": "29"}, "is due for renewal"),
    "for signing": (
        {"extensions": extensions(keyUsage="digitalSignature,keyCertSign")},
        "its KeyUsage is not that of a TLS server",
    ),
    "for clients as well": (
        {"extensions": extensions(extendedKeyUsage="serverAuth,clientAuth")},
        "is not serverAuth alone",
    ),
    "for clients alone": (
        {"extensions": extensions(extendedKeyUsage="clientAuth")},
        "lacks serverAuth",
    ),
    "a critical extension": (
        {"extensions": f"{EXTENSIONS}\n1.2.3.4=critical,DER:0500"},
        "clients refuse its critical extension 1.2.3.4",
    ),
    "SHA-1": ({"digest": "sha1"}, "uses SHA1"),
    "no key identifier": (
        {"extensions": extensions(authorityKeyIdentifier="none")},
        "no AuthorityKeyIdentifier",
    ),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_another_certificate_than_the_wanted_one_is_refused(stage, kind):
    changes, problem = ANSWERS[kind]
    stage.company.signs(**changes)
    message = stage.refusal()
    assert message.startswith("the answer of the signer (mcp_tunnel_signer): "), message
    assert problem in message
    assert "The certificate in use stays." in message
    # The next answer is judged anew.
    stage.company.signs()
    assert ensured("server_cert", **stage.arguments(stage.request()["csr"]))["certificate"]


def certificate_of(stage, directory, ca=None, **changes):
    """Return a certificate that openssl makes for a key of its own."""
    ca = ca or (stage.company.ca, stage.company.secret.read_text())
    return openssl.make_server(directory, ca, **changes)


def test_a_certificate_of_another_key_is_refused(stage, tmp_path):
    pem, _key = certificate_of(stage, tmp_path / "other")
    stage.company.says(f"cat <<'.'\n{pem}.")
    assert "does not belong to the key of the request" in stage.refusal()


def test_a_certificate_of_another_ca_is_refused(stage, tmp_path):
    other, key = openssl.make_ca(tmp_path / "other")
    stage.company.certificate.write_text(other)
    stage.company.secret.write_text(key)
    assert "it is not signed directly by the CA CN=Company CA" in stage.refusal()


@pytest.fixture
def signed(stage):
    """A request, and a good answer to it."""
    csr = stage.request()["csr"]
    pem = ensured("server_cert", **stage.arguments(csr))["certificate"]
    return csr, crypto.load_certificate(pem, "answer")


def test_one_that_is_not_valid_yet_or_has_begun_long_ago_is_refused(stage, signed):
    csr, certificate = signed
    ca = crypto.load_certificate(stage.company.ca, "CA")
    lifetimes = (timedelta(days=92), timedelta(days=30))
    outside.check_answer(certificate, csr, ca, lifetimes, crypto.utc_now())
    for moved, problem in (
        (timedelta(hours=-1), "it is not valid before"),
        (timedelta(days=2), "long before it was asked for"),
    ):
        with pytest.raises(TunnelError, match=problem):
            outside.check_answer(certificate, csr, ca, lifetimes, crypto.utc_now() + moved)


@pytest.mark.parametrize(("ahead", "awaited"), [(8, [8]), (11, []), (0, []), (-5, [])])
def test_one_that_is_about_to_start_is_awaited(signed, monkeypatch, ahead, awaited):
    """The clock of a CA that does not date back is ahead, and time passes while nothing is done."""
    start = crypto.not_before(signed[1])
    now, slept = [start - timedelta(seconds=ahead)], []

    def sleep(seconds):
        slept.append(seconds)
        now.append(now[-1] + timedelta(seconds=seconds))

    monkeypatch.setattr(crypto, "utc_now", lambda: now[-1])
    monkeypatch.setattr(outside.time, "sleep", sleep)
    asked_at = now[0] - timedelta(seconds=3)
    assert outside.moment_of(signed[1], asked_at) == now[-1]
    assert slept == awaited


WORDS = {
    "nothing": ("cat >/dev/null", "is empty"),
    "nonsense": ("echo Welcome to the portal", "has no certificate in PEM"),
    "a broken one": (
        "echo -----BEGIN CERTIFICATE-----; echo AAAA; echo -----END CERTIFICATE-----",
        "is not a certificate that can be read",
    ),
    "binary": ("head -c 5000 /dev/urandom", "has no certificate in PEM"),
    "a private key": ("openssl genpkey -algorithm RSA 2>/dev/null", "contains a private key"),
    "too much": ("exec cat /dev/zero", "says more than 65536 bytes"),
    "too much about a failure": ("exec cat /dev/zero >&2", "says more than 65536 bytes"),
    "a failure": ("echo no such profile >&2; exit 3", "ends with status 3: no such profile"),
    "a signal": ("kill -TERM $$", "was ended by signal 15"),
    "a long failure": ("head -c 60000 /dev/zero | tr '\\0' x >&2; exit 1", f"{'x' * 500}. The"),
}


@pytest.mark.parametrize("kind", WORDS)
def test_an_answer_that_is_none_is_refused(stage, kind):
    script, problem = WORDS[kind]
    stage.company.says(script)
    message = stage.refusal()
    assert problem in message
    assert "mcp_tunnel_signer" in message
    assert "The certificate in use stays." in message
    assert len(message) < 1200


def test_a_program_that_hangs_is_ended_with_all_that_it_has_started(stage, monkeypatch):
    monkeypatch.setattr(program, "SECONDS", 5.0)
    file = stage.company.directory / "pids"
    stage.company.says(f"sleep 600 & echo $! $$ >{file}; echo calling the HSM >&2; wait")
    assert "gives no answer within 5 seconds: calling the HSM" in stage.refusal()
    for pid in file.read_text().split():
        deadline = time.monotonic() + 120  # a process that was killed needs a processor to end
        while state_of(pid) not in ("", "Z"):
            assert time.monotonic() < deadline, f"process {pid} was not ended"
            time.sleep(0.05)


def state_of(pid):
    """Return the state of a process as the kernel has it; empty if it is gone."""
    path = Path(f"/proc/{pid}/stat")
    return path.read_text().rpartition(") ")[2][0] if path.exists() else ""


def test_a_program_that_is_not_there(stage):
    gone = {**stage.company.settings, "command": ["/usr/local/bin/none"]}
    assert "/usr/local/bin/none is no program on this host" in stage.refusal(signer=gone)
    stage.company.secret.unlink()
    assert "secret.key is no file on this host" in stage.refusal()


def test_without_a_signer_the_error_names_it(stage):
    assert "(mcp_tunnel_signer)" in stage.refusal(signer=None)


HOSTILE_REQUESTS = {
    "CA:TRUE": ["-addext", "basicConstraints=critical,CA:TRUE"],
    "another purpose": ["-addext", "extendedKeyUsage=clientAuth"],
    "another subject": ["-subj", "/CN=evil.example"],
}


@pytest.mark.parametrize("kind", HOSTILE_REQUESTS)
def test_a_request_for_more_than_names_never_reaches_the_company(stage, tmp_path, kind):
    """A replica that was taken over may ask for anything, and other CAs may sign all of it."""
    key = tmp_path / "key"
    key.write_text(openssl.make_key())
    names = f"subjectAltName=DNS:*.{DOMAIN},DNS:{DOMAIN}"
    words = ["req", "-new", "-key", key, "-addext", names, "-subj", f"/CN={DOMAIN}"]
    good = openssl.run(*words)
    assert ensured("server_cert", **stage.arguments(good))["certificate"]
    bad = openssl.run(*words, *HOSTILE_REQUESTS[kind])
    message = refused("server_cert", **stage.arguments(bad))
    assert message.startswith("csr: has another subject, or extensions beside its names")
    assert len(stage.company.runs) == 1


def test_a_request_with_another_attribute_never_reaches_the_company(stage, tmp_path):
    """CAs read attributes, and some take a second list of extensions for theirs."""
    (tmp_path / "key").write_text(openssl.make_key())
    (tmp_path / "req.cnf").write_text(
        "[req]\nprompt=no\ndistinguished_name=dn\nattributes=more\nreq_extensions=names\n"
        f"[dn]\nCN={DOMAIN}\n[more]\nchallengePassword=open sesame\n"
        f"[names]\nsubjectAltName=DNS:*.{DOMAIN},DNS:{DOMAIN}\n"
    )
    bad = openssl.run("req", "-new", "-key", tmp_path / "key", "-config", tmp_path / "req.cnf")
    assert "or extensions beside its names" in refused("server_cert", **stage.arguments(bad))
    assert stage.company.runs == []


def test_a_request_for_names_of_another_kind_never_reaches_the_company(stage, tmp_path):
    key = tmp_path / "key"
    key.write_text(openssl.make_key())
    names = f"subjectAltName=DNS:*.{DOMAIN},DNS:{DOMAIN},IP:10.0.0.1"
    bad = openssl.run("req", "-new", "-key", key, "-addext", names, "-subj", f"/CN={DOMAIN}")
    assert "names that are no DNS names" in refused("server_cert", **stage.arguments(bad))
    assert stage.company.runs == []


# The clock of our hosts stands still in these tests, and openssl's does not.
LATER = timedelta(minutes=2)


class TestTheTimer:
    """The signer of the state host asks the company, for replicas that renew by themselves."""

    @pytest.fixture
    def state_host(self, tmp_path, monkeypatch, company):
        host = signing.StateHost(tmp_path, monkeypatch)
        host.ca = company.ca
        (host.credentials / "ca.crt").write_text(company.ca)
        (host.credentials / "ca.key").unlink()
        # As systemd hands them over.
        (host.credentials / "signer.json").write_text(json.dumps(company.settings))
        (host.credentials / "secret").write_text(company.secret.read_text())
        return host

    @pytest.fixture
    def replica(self, tmp_path, state_host, monkeypatch):
        return signing.Replica(tmp_path, state_host, monkeypatch)

    def test_a_renewal(self, replica, state_host, company, tmp_path):
        company.secret.unlink()  # only the credential is there
        assert replica.renew(LATER).startswith("renewed, because there is no readable certificate")
        pem = (replica.tls / "tls.crt").read_text()
        openssl.verify(tmp_path / "judge", company.ca, pem, f"echo.{DOMAIN}")
        said = replica.renew(LATER)
        assert said.startswith("not needed: ")
        assert said.endswith(f"the state host would ask {company.settings['command'][0]}")
        assert len(company.runs) == 1

    def test_a_company_that_refuses_costs_no_certificate(self, replica, state_host, company):
        replica.renew(LATER)
        before = replica.contents()
        company.says("echo the HSM is away >&2; exit 1")
        with pytest.raises(TunnelError) as caught:
            replica.renew(LATER, duration="91d", renew_before="90d")
        # Its words may show its secret, and who asks may have been taken over.
        assert "ends with status 1. The certificate in use stays" in str(caught.value)
        assert {name: replica.contents()[name] for name in before} == before
        assert "refused: the signer" in state_host.log[-1]
        assert "ends with status 1: the HSM is away" in state_host.log[-1]
        company.signs()
        assert replica.renew(LATER, duration="91d", renew_before="90d").startswith("renewed, ")

    def test_settings_that_are_none_are_refused(self, replica, state_host):
        (state_host.credentials / "signer.json").write_text("{")
        with pytest.raises(TunnelError) as caught:
            replica.renew()
        assert "signer.json: is no JSON" in str(caught.value)


def rendered(signer):
    template = jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(
        TEMPLATE.read_text()
    )
    plan = {"instance": "default", "state_dir": "/s", "domain": DOMAIN, "routes": {}}
    variables = {"mcp_tunnel_cert_renew_before": "720h", "mcp_tunnel_cert_duration": "2160h"}
    return template.render(
        mcp_tunnel_plan=plan,
        __mcp_tunnel_settings={"variables": variables},
        inventory_hostname="a",
        __mcp_tunnel_host={"facts": {"encryption": "none"}},
        __proxy_signer=signer,
        __proxy_signer_path="/c/signer.json",
    )


def test_a_run_gives_the_program_the_limits_of_the_unit():
    lines = rendered({"secret_file": "/etc/secret"}).splitlines()
    assert [right for right in program.RIGHTS if right not in lines] == []
    assert "LoadCredential=secret:/etc/secret" in lines
    assert "LoadCredential=signer.json:/c/signer.json" in lines
    assert not [line for line in lines if "ca.key" in line or "PrivateNetwork" in line]
    assert "LoadCredential=ca.key:/s/ca.key" in rendered({})
    assert "PrivateNetwork=yes" in rendered({})


def test_root_has_systemd_run_the_program(stage, tmp_path, monkeypatch):
    """The words, on a machine that has no systemd; a scenario runs them on hosts."""
    monkeypatch.setattr(program, "_SYSTEMD", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    asked = []
    monkeypatch.setattr(
        program, "_run", lambda words, *more: asked.append(words) or "no certificate"
    )
    assert "has no certificate in PEM" in stage.refusal()
    words = asked[0]
    assert words[0] == "/usr/bin/systemd-run"
    assert f"--property=LoadCredential=secret:{stage.company.secret}" in words
    command = words[words.index("--") + 1 :]
    assert command == [stage.company.settings["command"][0], "--profile", "$$HOME; exit 7"]


GOOD = {"source": "command", "command": ["/usr/local/bin/sign", "a b"]}
WRONG = [
    ("command", "mcp_tunnel_signer: must be a map"),
    (["command"], "mcp_tunnel_signer: must be a map"),
    ({"source": "command"}, "mcp_tunnel_signer['command']: must be a list"),
    ({**GOOD, "address": "https://vault"}, "['address']: is not known for the source command"),
    ({**GOOD, "source": "pigeon"}, "mcp_tunnel_signer['source']: is 'pigeon'"),
    ({"command": ["/x"]}, "mcp_tunnel_signer['source']: is nothing"),
    ({**GOOD, "program": "x"}, "mcp_tunnel_signer['program']: is not known"),
    ({**GOOD, "command": "/usr/bin/sign --all"}, "must be a list of a program"),
    ({**GOOD, "command": []}, "must be a list of a program"),
    ({**GOOD, "command": ["sign"]}, "no absolute path"),
    ({**GOOD, "command": ["/usr/bin/sign csr"]}, "no absolute path"),
    ({**GOOD, "command": ["/x", 7]}, "has an entry that is no text"),
    ({**GOOD, "command": ["/x", "a\nb"]}, "has an entry that is no text"),
    ({**GOOD, "command": ["/x"] * 65}, "has more than 64 entries"),
    ({**GOOD, "secret_file": "secret"}, "mcp_tunnel_signer['secret_file']: must be an absolute"),
    ({**GOOD, "secret_file": "/a:b"}, "mcp_tunnel_signer['secret_file']: must be an absolute"),
    ({**GOOD, "secret_file": "/a%b"}, "mcp_tunnel_signer['secret_file']: must be an absolute"),
]


@pytest.mark.parametrize(("given", "text"), WRONG)
def test_wrong_settings_are_refused(given, text):
    with pytest.raises(TunnelError, match=re.escape(text)):
        settings.read(given)


def test_good_settings():
    assert settings.read({}) is None
    assert settings.read(GOOD) == settings.Program(("/usr/local/bin/sign", "a b"), "")
