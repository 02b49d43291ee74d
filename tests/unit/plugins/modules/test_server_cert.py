from __future__ import annotations

import contextlib
import grp
import os
import pwd
import stat
import subprocess
import time
from datetime import timedelta

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki import ca as pki_ca
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki import crypto
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki import server as pki_server
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import openssl
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.modules import (
    ensured,
    kill_everywhere,
    refused,
    run_module,
)

DOMAIN = openssl.DOMAIN
OWNER = {
    "owner": pwd.getpwuid(os.geteuid()).pw_name,
    "group": grp.getgrgid(os.getegid()).gr_name,
}


class Stage:
    """A state host and a replica."""

    def __init__(self, directory):
        self.state = directory / "state"
        self.tls = directory / "tls"
        self.tls.mkdir(parents=True)
        self.key, self.crt = self.tls / "tls.key", self.tls / "tls.crt"
        self.ca = ensured("tunnel_ca", path=str(self.state))["certificate"]
        (self.state / "tunnel-domain").write_text(DOMAIN)

    @property
    def ca_key(self):
        return (self.state / "ca.key").read_text()

    def request_arguments(self, **changes):
        given = {"state": "requested", "path": str(self.tls), "domain": DOMAIN, **OWNER}
        return {**given, "ca_certificate": self.ca, **changes}

    def request(self, **changes):
        return ensured("server_cert", **self.request_arguments(**changes))

    def sign(self, csr, **changes):
        given = {"state": "signed", "path": str(self.state), "domain": DOMAIN, "csr": csr}
        return ensured("server_cert", **{**given, **changes})

    def install_arguments(self, certificate, **changes):
        given = {"state": "installed", "path": str(self.tls), "domain": DOMAIN, **OWNER}
        return {**given, "ca_certificate": self.ca, "certificate": certificate, **changes}

    def install(self, certificate, **changes):
        return ensured("server_cert", **self.install_arguments(certificate, **changes))

    def deploy(self, **changes):
        """Use the three verbs as the roles call them."""
        request = self.request(**changes)
        if request["needed"]:
            signed = self.sign(request["csr"], **changes)
            return self.install(signed["certificate"], **changes)
        return request

    def judge(self, directory):
        """Have openssl judge the live pair."""
        openssl.verify(directory, self.ca, self.crt.read_text(), f"echo.{DOMAIN}")
        assert openssl.public_key_of_certificate(self.crt.read_text()) == openssl.public_key_of_key(
            self.key.read_text()
        )


@pytest.fixture
def stage(tmp_path):
    return Stage(tmp_path / "stage")


def write_certificate(stage, started, duration, key=None, routes=()):
    """Make the live pair one that was signed at another time."""
    key = key or crypto.generate_key()
    certificate = pki_server.sign_request(
        pki_server.make_request(key, DOMAIN, routes),
        crypto.load_certificate(stage.ca, "ca"),
        crypto.load_private_key(stage.ca_key, "key"),
        DOMAIN,
        routes,
        duration,
        started,
    )
    for path, content in (
        (stage.key, crypto.key_pem(key).decode()),
        (stage.crt, crypto.pem_of(certificate)),
    ):
        path.write_text(content)
        path.chmod(0o640)


def test_from_nothing_to_a_certificate_and_then_nothing(stage, tmp_path):
    request = stage.request()
    assert request["changed"]
    assert request["needed"]
    assert request["reasons"] == ["there is no readable certificate yet"]
    assert os.listdir(stage.tls) == ["tls.key.pending"]
    assert stat.S_IMODE((stage.tls / "tls.key.pending").stat().st_mode) == 0o600

    signed = stage.sign(request["csr"])
    assert not signed["changed"]
    assert sorted(os.listdir(stage.state)) == ["ca.crt", "ca.key", "tunnel-domain"]

    installed = stage.install(signed["certificate"])
    assert installed["changed"]
    assert installed["names"] == [f"*.{DOMAIN}", DOMAIN]
    assert sorted(os.listdir(stage.tls)) == ["tls.crt", "tls.key"]
    for path in (stage.key, stage.crt):
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
    stage.judge(tmp_path)

    # The no-op run is this one call.
    request = stage.request()
    assert not request["changed"]
    assert not request["needed"]
    assert request["csr"] == ""
    assert request["fingerprint"] == installed["fingerprint"]
    assert request["diff"]["before"] == request["diff"]["after"]
    # Repeating the installation is harmless.
    assert not stage.install(signed["certificate"])["changed"]


def test_a_request_repeated_keeps_its_key(stage):
    first = stage.request()
    again = stage.request()
    assert again["needed"]
    assert not again["changed"]
    keys = [openssl.run("req", "-noout", "-pubkey", stdin=run["csr"]) for run in (first, again)]
    assert keys[0] == keys[1]


def test_renewal(stage, tmp_path):
    now = crypto.utc_now()
    write_certificate(stage, now - timedelta(days=59), timedelta(days=90))
    assert not stage.request()["needed"]
    write_certificate(stage, now - timedelta(days=61), timedelta(days=90))
    old_key = stage.key.read_text()
    request = stage.request()
    assert request["needed"]
    assert "is due for renewal" in request["reasons"][0]
    # Until the new certificate is there, the old pair serves.
    assert stage.key.read_text() == old_key
    assert not stage.request(renew_before="20d")["needed"]
    result = stage.deploy()
    assert result["changed"]
    assert stage.key.read_text() != old_key
    stage.judge(tmp_path)
    assert not stage.request()["needed"]


def test_a_key_that_is_not_needed_any_more_is_removed(stage):
    write_certificate(stage, crypto.utc_now() - timedelta(days=61), timedelta(days=90))
    stage.request()
    assert stage.request(renew_before="10d")["changed"]
    assert sorted(os.listdir(stage.tls)) == ["tls.crt", "tls.key"]
    assert not stage.request(renew_before="10d")["changed"]


def test_a_certificate_that_ends_with_its_ca_is_not_renewed_for_ever(stage):
    stage.ca = ensured("tunnel_ca", path=str(stage.state), regenerate="always", duration="20d")[
        "certificate"
    ]
    stage.deploy()
    assert not stage.request()["needed"]


def test_expired(stage, tmp_path):
    now = crypto.utc_now()
    key = crypto.load_private_key(stage.ca_key, "key")
    older = pki_ca.make_ca(key, "older", timedelta(days=365), now - timedelta(days=100))
    stage.ca = crypto.pem_of(older)
    (stage.state / "ca.crt").write_text(stage.ca)
    write_certificate(stage, now - timedelta(days=9), timedelta(days=8))
    assert any("has expired" in reason for reason in stage.request()["reasons"])
    stage.deploy()
    stage.judge(tmp_path)


def test_another_domain_or_deeper_route(stage, tmp_path):
    stage.deploy()
    request = stage.request(domain="other.tunnel.example")
    assert "does not cover *.other.tunnel.example" in request["reasons"][0]
    assert not stage.request(routes=["echo", f"x.{DOMAIN}"])["needed"]
    routes = ["echo", f"deep.er.{DOMAIN}"]
    assert stage.request(routes=routes)["needed"]
    stage.deploy(routes=routes)
    openssl.verify(tmp_path, stage.ca, stage.crt.read_text(), f"deep.er.{DOMAIN}")
    assert not stage.request(routes=routes)["needed"]


def test_another_ca(stage, tmp_path):
    stage.deploy()
    stage.ca = ensured("tunnel_ca", path=str(stage.state), regenerate="always")["certificate"]
    assert "not signed directly by the CA" in stage.request()["reasons"][0]
    assert stage.deploy()["changed"]
    stage.judge(tmp_path)


@pytest.mark.parametrize("name", ["tls.key", "tls.crt"])
@pytest.mark.parametrize("damage", ["missing", "empty", "binary", "other"])
def test_damaged_pairs_are_made_anew(stage, tmp_path, name, damage):
    stage.deploy()
    path = stage.tls / name
    contents = {"empty": b"", "binary": b"\xff\x00", "other": openssl.make_key().encode()}
    path.unlink() if damage == "missing" else path.write_bytes(contents[damage])
    assert stage.request()["needed"]
    assert stage.deploy()["changed"]
    stage.judge(tmp_path)
    assert not stage.deploy()["changed"]


def test_permissions_are_repaired_without_a_new_certificate(stage):
    stage.deploy()
    stage.key.chmod(0o644)
    request = stage.request()
    assert request["changed"]
    assert not request["needed"]
    assert stat.S_IMODE(stage.key.stat().st_mode) == 0o640
    stage.key.chmod(0o644)
    assert stage.install(stage.crt.read_text())["changed"]
    assert not stage.request()["changed"]


def test_check_mode_on_bare_hosts(tmp_path):
    bare = {"domain": DOMAIN, "group": "no-such-group-yet", "owner": "no-such-user-yet"}
    tls, state = str(tmp_path / "tls"), str(tmp_path / "state")
    request = run_module(
        "server_cert", check=True, state="requested", path=tls, ca_certificate="", **bare
    )
    assert (request.changed, request.result["needed"], request.result["csr"]) == (True, True, "")
    signed = run_module(
        "server_cert", check=True, state="signed", path=state, csr="", domain=DOMAIN
    )
    assert (signed.changed, signed.result["certificate"]) == (False, "")
    installed = run_module(
        "server_cert",
        check=True,
        state="installed",
        path=tls,
        ca_certificate="",
        certificate="",
        **bare,
    )
    assert installed.changed
    assert os.listdir(tmp_path) == []


def test_empty_values_are_for_check_mode_only(stage):
    assert "ca_certificate: is empty" in refused(
        "server_cert", **stage.request_arguments(ca_certificate="")
    )
    assert "certificate: is empty" in refused("server_cert", **stage.install_arguments(""))
    assert "csr: is empty" in refused(
        "server_cert", state="signed", path=str(stage.state), domain=DOMAIN, csr=""
    )


def test_what_may_be_installed(stage, tmp_path):
    request = stage.request()
    certificate = stage.sign(request["csr"])["certificate"]
    other_ca = openssl.make_ca(tmp_path / "ca")
    assert "not signed directly" in refused(
        "server_cert", **stage.install_arguments(certificate, ca_certificate=other_ca[0])
    )
    foreign = openssl.make_server(tmp_path / "server", (stage.ca, stage.ca_key))[0]
    assert "does not belong to the key in" in refused(
        "server_cert", **stage.install_arguments(foreign)
    )
    (stage.tls / "tls.key.pending").unlink()
    assert "has no key on this host" in refused(
        "server_cert", **stage.install_arguments(certificate)
    )
    assert os.listdir(stage.tls) == []


def test_a_brought_pair(stage, tmp_path):
    certificate, key = openssl.make_server(tmp_path / "server", (stage.ca, stage.ca_key))
    result = stage.install(certificate, private_key=key)
    assert result["changed"]
    assert sorted(os.listdir(stage.tls)) == ["tls.crt", "tls.key"]
    stage.judge(tmp_path / "judge")
    assert not stage.install(certificate, private_key=key)["changed"]
    renewed, new_key = openssl.make_server(tmp_path / "server", (stage.ca, stage.ca_key))
    assert stage.install(renewed, private_key=new_key)["changed"]
    stage.judge(tmp_path / "judge")


def test_brought_pairs_are_checked(stage, tmp_path):
    certificate, key = openssl.make_server(
        tmp_path, (stage.ca, stage.ca_key), extensions={"extendedKeyUsage": "clientAuth"}
    )
    for check in (True, False):
        assert "ExtendedKeyUsage lacks serverAuth" in refused(
            "server_cert", check=check, **stage.install_arguments(certificate, private_key=key)
        )
    certificate, key = openssl.make_server(tmp_path, (stage.ca, stage.ca_key))
    assert "private_key: does not belong" in refused(
        "server_cert", **stage.install_arguments(certificate, private_key=openssl.make_key())
    )
    assert os.listdir(stage.tls) == []


def test_one_pair_for_all_replicas(stage, tmp_path):
    """The vendor's multi-VM recipe: made on the state host, then brought to each replica."""
    shared = tmp_path / "shared"
    shared.mkdir()
    request = stage.request(path=str(shared), mode="0600")
    certificate = stage.sign(request["csr"])["certificate"]
    stage.install(certificate, path=str(shared), mode="0600")
    assert stage.install(certificate, private_key=(shared / "tls.key").read_text())["changed"]
    stage.judge(tmp_path / "judge")


def test_signing_needs_a_ca_with_its_key(stage, tmp_path):
    csr = stage.request()["csr"]
    arguments = {"state": "signed", "domain": DOMAIN, "csr": csr}
    message = refused("server_cert", path=str(tmp_path / "nowhere"), **arguments)
    assert "nowhere/ca.crt: is missing" in message
    assert "Run tunnel_ca" in message
    key = stage.ca_key
    (stage.state / "ca.key").unlink()
    message = refused("server_cert", path=str(stage.state), **arguments)
    assert "ca.key: is missing" in message
    assert "mcp_tunnel_server_cert" in message
    (stage.state / "ca.key").write_text(openssl.make_key())
    assert "does not belong" in refused("server_cert", path=str(stage.state), **arguments)
    old = pki_ca.make_ca(
        crypto.load_private_key(key, "key"),
        "old",
        timedelta(days=1),
        crypto.utc_now() - timedelta(days=2),
    )
    (stage.state / "ca.key").write_text(key)
    (stage.state / "ca.crt").write_text(crypto.pem_of(old))
    assert "it has expired" in refused("server_cert", path=str(stage.state), **arguments)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"domain": "localhost"}, "domain: is not a domain name"),
        ({"routes": ["echo.example.com"]}, "lies outside the tunnel's domain"),
        ({"renew_before": "2160h"}, "renew_before: 2160h is not shorter than the duration"),
        ({"renew_before": "soon"}, "renew_before: 'soon' is not a duration"),
        ({"duration": "-1h"}, "duration: '-1h' is not a duration"),
        ({"mode": "640"}, "mode '640' is not four octal digits"),
        ({"mode": "416"}, "mode '416' is not four octal digits"),
        ({"path": "tls"}, "is not an absolute path"),
        ({"path": "/nonexistent/tls"}, "/nonexistent/tls: does not exist"),
        ({"path": "/etc/passwd"}, "/etc/passwd: is not a directory"),
        ({"ca_certificate": "x"}, "ca_certificate: is not a PEM certificate"),
    ],
)
def test_bad_options(stage, changes, problem):
    for check in (True, False):
        if check and "nonexistent" in problem:
            continue
        assert problem in refused("server_cert", check=check, **stage.request_arguments(**changes))


def test_unknown_accounts(stage):
    certificate = stage.sign(stage.request()["csr"])["certificate"]
    for change, problem in (
        ({"owner": "no-such-user"}, "there is no user 'no-such-user'"),
        ({"group": "no-such-group"}, "there is no group 'no-such-group'"),
    ):
        arguments = stage.install_arguments(certificate, **change)
        assert problem in refused("server_cert", **arguments)
    assert os.listdir(stage.tls) == ["tls.key.pending"]


def test_no_secret_comes_out(stage, tmp_path):
    certificate, key = openssl.make_server(tmp_path, (stage.ca, stage.ca_key))
    secrets = [key, stage.ca_key]
    outcomes = []
    for check in (True, False):
        outcomes += [
            run_module("server_cert", check=check, **arguments)
            for arguments in (
                stage.request_arguments(),
                stage.install_arguments(certificate, private_key=key),
                stage.install_arguments(certificate, private_key=key[:-40]),
                stage.install_arguments(certificate + key),
                stage.request_arguments(ca_certificate=stage.ca + stage.ca_key),
                stage.request_arguments(),
            )
        ]
    secrets.append(stage.key.read_text())
    for outcome in outcomes:
        for secret in secrets:
            assert secret.split("\n")[1] not in outcome.everything


@pytest.mark.parametrize(
    "before",
    [pytest.param("nothing", marks=pytest.mark.exhaustive), "an old pair", "a brought pair"],
)
def test_a_run_killed_anywhere_is_completed(tmp_path, before):
    stages = []
    brought = before == "a brought pair"

    def prepare():
        stage = Stage(tmp_path / f"stage{len(stages)}")
        stages.append(stage)
        if before != "nothing":
            start = crypto.utc_now() - timedelta(days=80)
            write_certificate(stage, start, timedelta(days=90))
        if brought:
            stage.pair = openssl.make_server(tmp_path / "server", (stage.ca, stage.ca_key))

    def deploy(stage):
        if brought:
            certificate, key = stage.pair
            return stage.install(certificate, private_key=key)
        return stage.deploy()

    def check(_step):
        stage = stages[-1]
        for path in filter(os.path.exists, (stage.key, stage.crt)):
            assert path.read_text().endswith("-----\n")
            assert stat.S_IMODE(path.stat().st_mode) == 0o640
        for entry in os.scandir(stage.tls):
            assert not stat.S_IMODE(entry.stat().st_mode) & 0o007
        deploy(stage)
        stage.judge(tmp_path / "judge")
        assert sorted(os.listdir(stage.tls)) == ["tls.crt", "tls.key"]
        assert not deploy(stage)["changed"]

    assert kill_everywhere(prepare, lambda: deploy(stages[-1]), check) > 8


def test_between_the_two_renames_nothing_is_lost(stage, tmp_path):
    """The worst moment: the key is new and the certificate old. The next check finishes it."""
    stage.deploy()
    certificate, key = openssl.make_server(tmp_path / "server", (stage.ca, stage.ca_key))
    stage.key.write_text(key)
    (stage.tls / "tls.crt.pending").write_text(certificate)
    (stage.tls / "tls.crt.pending").chmod(0o640)
    request = stage.request()
    assert request["changed"]
    assert not request["needed"]
    assert stage.crt.read_text() == certificate
    stage.judge(tmp_path / "judge")


def test_a_tls_server_takes_the_pair(stage, tmp_path):
    """An openssl server presents it, and an openssl client that trusts only the CA believes it."""
    stage.deploy()
    (tmp_path / "ca.crt").write_text(stage.ca)
    server = subprocess.Popen(
        ["openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", stage.crt, "-key", stage.key,
         "-naccept", "1", "-quiet", "-no_dhe"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    with contextlib.ExitStack() as stack:
        stack.callback(server.wait, 120)
        stack.callback(server.kill)
        port = _listening_port(server.pid)
        client = subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile",
             tmp_path / "ca.crt", "-no-CApath", "-verify_return_error", "-verify_hostname",
             f"echo.{DOMAIN}", "-servername", f"echo.{DOMAIN}"],
            input=b"",
            capture_output=True,
            timeout=120,
            check=False,
        )  # fmt: skip
    assert b"Verify return code: 0 (ok)" in client.stdout, client.stdout + client.stderr


def _listening_port(pid):
    for _attempt in range(2400):
        links = [os.readlink(entry.path) for entry in _descriptors(pid)]
        sockets = {link[8:-1] for link in links if link.startswith("socket:[")}
        with open("/proc/net/tcp") as table:
            for line in table.readlines()[1:]:
                fields = line.split()
                if fields[9] in sockets and fields[3] == "0A":
                    return int(fields[1].split(":")[1], 16)
        time.sleep(0.05)
    raise AssertionError("openssl s_server does not listen")


def _descriptors(pid):
    with contextlib.suppress(FileNotFoundError):
        return list(os.scandir(f"/proc/{pid}/fd"))
    return []


def test_a_ca_signs_for_its_own_tunnel_only(stage):
    """A controller that was misled may name the state directory of another instance."""
    csr = stage.request(domain="other.tunnel.example")["csr"]
    arguments = {"state": "signed", "path": str(stage.state), "csr": csr}
    message = refused("server_cert", domain="other.tunnel.example", **arguments)
    assert f"the CA in {stage.state} is that of {DOMAIN}" in message
    (stage.state / "tunnel-domain").unlink()
    message = refused("server_cert", domain=DOMAIN, **{**arguments, "csr": stage.request()["csr"]})
    assert "tunnel-domain: is not there" in message
