from __future__ import annotations

import grp
import os
import pwd
import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.commands import renew_cert
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki import crypto
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica import (
    records as replica_records,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases import command_source
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import openssl
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.modules import ensured

DOMAIN = openssl.DOMAIN
MODULE_UTILS = Path(renew_cert.__file__).parents[1]


class Host:
    """A state host's directories, with a CA of 200 days and no server certificate yet."""

    def __init__(self, root):
        self.state = root / "state" / "default"
        self.tls = root / "etc" / "default" / "tls"
        self.records = root / "records"
        self.tls.mkdir(parents=True)
        self.ca = ensured("tunnel_ca", path=str(self.state), duration="200d")["certificate"]
        (self.state / "tunnel-domain").write_text(DOMAIN)
        self.now = crypto.utc_now()

    def renew(self, after=timedelta(0), routes=(), duration="90d", renew_before="30d"):
        """Renew as if this much time had passed since the CA was made."""
        now = self.now + after
        return renew_cert.renew("default", list(routes), duration, renew_before, now)

    def contents(self):
        return {path.name: path.read_text() for path in self.tls.iterdir()}

    def certificate(self):
        return crypto.load_certificate((self.tls / "tls.crt").read_text(), "tls.crt")


@pytest.fixture
def host(tmp_path, monkeypatch):
    monkeypatch.setattr(renew_cert, "CONFIGURATIONS", str(tmp_path / "etc"))
    monkeypatch.setattr(renew_cert, "STATES", str(tmp_path / "state"))
    monkeypatch.setattr(renew_cert, "RECORDS", tmp_path / "records")
    monkeypatch.setattr(renew_cert, "OWNER", pwd.getpwuid(os.geteuid()).pw_name)
    monkeypatch.setattr(renew_cert, "GROUP", grp.getgrgid(os.getegid()).gr_name)
    return Host(tmp_path)


def test_from_nothing_to_a_certificate_that_openssl_accepts(host, tmp_path):
    said = host.renew()
    assert said.startswith("renewed, because there is no readable certificate yet: fingerprint ")
    assert crypto.fingerprint(host.certificate()) in said
    assert sorted(host.contents()) == ["tls.crt", "tls.key"]
    for name, content in host.contents().items():
        assert stat.S_IMODE((host.tls / name).stat().st_mode) == 0o640
        assert content not in said
    openssl.verify(tmp_path, host.ca, host.contents()["tls.crt"], f"echo.{DOMAIN}")


def test_nothing_is_done_while_more_than_renew_before_remains(host):
    host.renew()
    before = host.contents()
    end = crypto.timestamp(crypto.not_after(host.certificate()))
    assert host.renew(timedelta(days=59)) == f"not needed: 31 days remain, until {end}"
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
    assert end == host.now + timedelta(days=61 + 90)


def test_a_route_that_the_wildcard_does_not_cover(host):
    host.renew()
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
    assert caught.value.subject == str(host.state / "ca.crt")
    assert "Rotate the CA" in str(caught.value)


@pytest.mark.parametrize(
    ("missing", "what"), [("ca.crt", "has no CA"), ("tunnel-domain", "has no domain")]
)
def test_a_host_that_is_not_the_state_host(host, missing, what):
    (host.state / missing).unlink()
    with pytest.raises(renew_cert.TunnelError, match=what) as caught:
        host.renew()
    assert "state host" in caught.value.remedy
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


def test_the_command(host, capsys):
    arguments = ["--instance", "default", "--renew-before", "30d", "--duration", "90d"]
    assert renew_cert.main([*arguments, "--route", "echo"]) == 0
    assert capsys.readouterr().out.startswith("renewed, ")
    assert renew_cert.main(arguments) == 0
    assert capsys.readouterr().out.startswith("not needed: ")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--instance", "other"], "other: has no CA of instance 'other'"),
        (["--instance", "default", "--renew-before", "soon"], "renew_before: 'soon' is not"),
        (["--instance", "default", "--duration", "30d"], "is not shorter than the duration 30d"),
        (["--instance", "default", "--route", "a b"], "'a b' is not a host name"),
    ],
)
def test_what_is_wrong_is_told_on_stderr(host, capsys, arguments, text):
    assert renew_cert.main(arguments) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert text in output.err
    assert len(output.err.splitlines()) == 1
    assert host.contents() == {}


def test_a_directory_where_a_file_should_be(host, capsys):
    (host.state / "tunnel-domain").unlink()
    (host.state / "tunnel-domain").mkdir()
    assert renew_cert.main(["--instance", "default"]) == 1
    assert "tunnel-domain: is not a regular file" in capsys.readouterr().err


def test_what_the_file_system_refuses(host, capsys):
    assert renew_cert.main(["--instance", "../default"]) == 1
    assert "'../default' is no name of an instance" in capsys.readouterr().err


def test_it_runs_without_ansible(tmp_path):
    """Its launcher runs it like this, in an isolated Python with only its release's content."""
    package = tmp_path / command_source.PACKAGE.replace(".", "/")
    package.mkdir(parents=True)
    for path in command_source.needed_files(MODULE_UTILS, "commands.renew_cert"):
        copy = package / path.relative_to(MODULE_UTILS)
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(path.read_text())
    program = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}]\n"
        f"from {command_source.PACKAGE}.commands.renew_cert import main\n"
        "code = main(['--instance', 'nowhere'])\n"
        "sys.exit(code if 'ansible' not in sys.modules else 'ansible was imported')"
    )
    done = subprocess.run(
        [sys.executable, "-IS", "-c", program], capture_output=True, text=True, check=False
    )
    assert "nowhere: has no CA of instance 'nowhere'. Run this on the state host" in done.stderr
    assert (done.returncode, done.stdout) == (1, "")
