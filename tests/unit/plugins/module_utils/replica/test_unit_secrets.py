"""Secrets and units that came apart: after each call, each secret is in the form of its unit."""

from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import at_rest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.secret_files import (
    private_attributes,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import (
    running_code,
    systemd,
    unit_secrets,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica import state
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica.records import Records
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica.services import Service
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.fakes import (
    stand_in_creds,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.modules import ensured

PROXY, CONNECTOR = "mcp-proxy@default.service", "mcp-cloudflared@default.service"
SECRET = b"planted-secret"


class Host:
    """A state host: both services, their unit files, their secrets, and the signer's."""

    def __init__(self, directory):
        self.root = directory / "opt"
        self.units = directory / "system"
        self.token = directory / "etc" / "default" / "tunnel-token"
        self.key = directory / "etc" / "default" / "tls" / "tls.key"
        self.ca = directory / "lib" / "default" / "ca.key"
        self.records = Records("default", directory / "records")
        self.form = "none"
        for part in ("proxy", "cloudflared"):
            (self.root / part / "1" / "bin").mkdir(parents=True)
        for secret in (self.token, self.key, self.ca):
            secret.parent.mkdir(parents=True, exist_ok=True)
        self.base = self.units / "mcp-cloudflared@.service"
        self.of_connector = self.units / f"{CONNECTOR}.d" / "10-instance.conf"
        self.of_proxy = self.units / f"{PROXY}.d" / "10-instance.conf"
        self.signer = self.units / "mcp-tunnel-signing-default@.service"
        for drop_in in (self.of_connector, self.of_proxy):
            drop_in.parent.mkdir(parents=True)
        pattern = self.token.parents[1] / "%i" / "tunnel-token"
        self.base.write_text(f"[Service]\nLoadCredential=tunnel-token:{pattern}\n")

    def write_units(self, form):
        """As the roles do; the base unit's own line stays."""
        encrypted = "" if form == "none" else "LoadCredentialEncrypted="
        for path, line in (
            (self.of_connector, f"{encrypted}tunnel-token:{self.token}"),
            (self.of_proxy, f"{encrypted}tls.key:{self.key}"),
        ):
            path.write_text(f"[Service]\n{line if encrypted else '# in clear'}\n")
        self.signer.write_text(
            f"[Service]\n{encrypted or 'LoadCredential='}ca.key:{self.ca}\n"
            f"LoadCredential=ca.crt:{self.ca.parent}/ca.crt\n"
        )

    def write_secret(self, path, form):
        at_rest.write_secret(str(path), SECRET, private_attributes(), form)

    def write(self, form):
        """All that a run writes before the services start."""
        self.form = form
        self.write_units(form)
        for path in (self.token, self.key):
            self.write_secret(path, form)

    def services(self):
        """As the roles list them: systemd hands an encrypted key over once."""
        key = [str(self.key)]
        encrypts = self.form != "none"
        return [
            Service(
                PROXY, "proxy", "1", (str(self.of_proxy), *(key if encrypts else ())),
                (*(() if encrypts else key), str(self.signer)),
            ),
            Service(
                CONNECTOR, "cloudflared", "1",
                (str(self.base), str(self.of_connector), str(self.token)),
            ),
        ]  # fmt: skip

    def apply(self, check_mode=False):
        return state.apply(self.services(), self.records, check_mode, root=self.root)

    def remember(self):
        return state.remember(self.services(), self.records, self.root)

    def restore(self, check_mode=False, kept=()):
        kept = frozenset(map(str, kept))
        return state.restore(self.services(), self.records, check_mode, kept, self.root)

    def forms(self):
        return [at_rest.form_of(path.read_bytes()) for path in (self.token, self.key, self.ca)]

    def secrets(self):
        return [at_rest.read_secret(str(path)) for path in (self.token, self.key, self.ca)]


@pytest.fixture
def fake(monkeypatch, host):
    """A systemd that obeys, and notes the forms with which it was asked to start a service."""
    started = []

    def enforce(verb, *units):
        if verb == "restart":
            started.extend((unit, host.forms()) for unit in units)
        return False

    def show(names):
        return [
            systemd.Unit(
                name=name, active="active", sub="", enabled=True, needs_reload=False, loaded=True,
                restarts=0,
            )
            for name in names
        ]  # fmt: skip

    monkeypatch.setattr(systemd, "show", show)
    monkeypatch.setattr(systemd, "systemctl", lambda *_arguments: "")
    monkeypatch.setattr(systemd, "enforce", enforce)
    monkeypatch.setattr(running_code, "problem", lambda unit, release: "")
    return started


@pytest.fixture
def host(tmp_path, monkeypatch):
    stand_in_creds.install(monkeypatch, tmp_path / "bin", tpm=True)
    monkeypatch.setattr(unit_secrets, "PLACES", (f"{tmp_path}/etc/", f"{tmp_path}/lib/"))
    monkeypatch.setattr(unit_secrets, "UNITS", str(tmp_path / "system"))
    return Host(tmp_path)


def deployed(host, form):
    host.write(form)
    host.write_secret(host.ca, form)
    host.apply()
    host.remember()


@pytest.mark.parametrize(("before", "after"), [("none", "host"), ("tpm2", "none")])
def test_a_kept_token_has_the_form_of_the_drop_in_that_was_put_back(host, fake, before, after):
    deployed(host, before)
    host.write(after)
    host.apply()
    assert host.forms() == [after] * 3
    fake.clear()
    host.token.chmod(0o640)
    predicted = host.restore(check_mode=True, kept=[host.token])
    assert host.forms() == [after] * 3
    done = host.restore(kept=[host.token])
    assert done["actions"] == predicted["actions"]
    assert [unit for unit, _forms in fake] == [PROXY, CONNECTOR]
    assert all(forms == [before] * 3 for _unit, forms in fake)
    assert host.secrets() == [SECRET] * 3
    assert host.token.stat().st_mode & 0o777 == 0o640
    assert not host.restore(kept=[host.token])["changed"]


@pytest.mark.parametrize("form", ["host", "tpm2", "none"])
def test_the_ca_is_converted_with_the_signers_unit(host, fake, form):
    other = "host" if form == "none" else "none"
    deployed(host, other)
    beside = host.ca.parent / "ca-previous.key"
    host.write_secret(beside, other)
    host.write(form)
    before = host.ca.read_bytes()
    predicted = host.apply(check_mode=True)
    assert host.ca.read_bytes() == before
    done = host.apply()
    assert any(str(host.ca) in action for action in done["actions"])
    assert [item.replace("changed", "would change") for item in done["actions"]] == [
        item.replace("changed", "would change") for item in predicted["actions"]
    ]
    assert host.forms() == [form] * 3
    assert at_rest.form_of(beside.read_bytes()) == form
    assert host.secrets() == [SECRET] * 3
    assert not host.apply()["changed"]


@pytest.mark.parametrize("form", ["host", "tpm2", "none"])
def test_the_ca_has_the_form_of_the_others_once_its_signer_has_no_unit(host, fake, form):
    """The renewal was turned off, in the run that encrypts or decrypts."""
    deployed(host, "host" if form == "none" else "none")
    host.write(form)
    host.signer.unlink()
    host.apply()
    assert host.forms() == [form] * 3
    assert host.secrets() == [SECRET] * 3
    assert not host.apply()["changed"]


def ensure_ca(host, form, **more):
    return ensured("tunnel_ca", path=str(host.ca.parent), encryption=form, **more)


@pytest.mark.parametrize(("before", "after"), [("none", "host"), ("host", "none")])
def test_a_run_that_does_not_reach_the_state_host_leaves_what_its_signer_reads(host, before, after):
    """The state is kept for all replicas, but the unit is written in the host's own wave."""
    ensure_ca(host, before)
    host.write_units(before)
    host.write_secret(host.ca.parent / "tunnel-token", before)
    key = at_rest.read_secret(str(host.ca))
    done = ensure_ca(host, after)
    # No unit names the token of a state directory.
    assert done["diff"]["after"]["encryption"] == {"tunnel-token": after}
    assert at_rest.form_of(host.ca.read_bytes()) == before
    assert at_rest.read_secret(str(host.ca)) == key
    assert not ensure_ca(host, after)["changed"]
    # Also a new one, which takes its place.
    ensured("tunnel_ca", path=str(host.ca.parent), encryption=after, regenerate="always")
    assert at_rest.read_secret(str(host.ca)) != key
    assert at_rest.form_of(host.ca.read_bytes()) == before
    host.write_units(after)
    assert unit_secrets.fit([str(host.signer)], check_mode=True)
    unit_secrets.fit([str(host.signer)], check_mode=False)
    assert not ensure_ca(host, after)["changed"]
    assert at_rest.form_of(host.ca.read_bytes()) == after


def test_from_one_key_to_another_the_unit_stays_the_same(host):
    ensure_ca(host, "host")
    host.write_units("host")
    ensure_ca(host, "tpm2")
    assert at_rest.form_of(host.ca.read_bytes()) == "tpm2"


@pytest.mark.parametrize(("before", "after"), [("none", "host"), ("host", "none")])
def test_a_certificate_renewed_before_the_new_form_was_proven(host, fake, before, after):
    deployed(host, before)
    host.write(after)
    host.apply()
    host.records.take_for_good([str(host.key)])  # the timer
    fake.clear()
    host.restore()
    assert fake
    assert all(forms == [before] * 3 for _unit, forms in fake)
    assert host.secrets() == [SECRET] * 3
    assert not host.restore()["changed"]


def test_nothing_of_others_is_converted(host, tmp_path):
    """Neither a file elsewhere, nor one that is no secret, nor one under another name."""
    elsewhere = tmp_path / "ca.key"
    other = host.ca.parent / "other"
    for path in (elsewhere, other, host.ca):
        host.write_secret(path, "none")
    host.signer.write_text(
        f"[Service]\nLoadCredentialEncrypted=ca.key:{elsewhere}\n"
        f"LoadCredentialEncrypted=other:{other}\nLoadCredentialEncrypted=secret:{host.ca}\n"
        f"[Unit]\nLoadCredentialEncrypted=ca.key:{host.ca}\n"
    )
    assert unit_secrets.fit([str(host.signer)], check_mode=False) == {}
    assert all(path.read_bytes() == SECRET for path in (elsewhere, other, host.ca))


def test_one_that_cannot_be_decrypted_leaves_the_others_as_they_are(host):
    host.write_units("none")
    for path in (host.token, host.key, host.ca):
        host.write_secret(path, "host")
    content = bytearray(host.token.read_bytes())
    content[-8] = ord("A") if content[-8] != ord("A") else ord("B")
    host.token.write_bytes(content)
    units = [str(host.signer), str(host.base), str(host.of_connector), str(host.of_proxy)]
    with pytest.raises(TunnelError, match="tunnel-token: cannot be decrypted"):
        unit_secrets.fit([*units, str(host.key)], check_mode=False)
    assert host.forms() == ["host"] * 3
