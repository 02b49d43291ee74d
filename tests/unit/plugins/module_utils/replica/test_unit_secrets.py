"""Secrets and units that came apart: after each call, each secret is in the form of its unit."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.copies import restore
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.copies.state import State
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
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.modules import (
    ensured,
    killed_after,
    run_module,
)

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


# How systemd sees it: a service starts if it gets its secret, from a file of the form that the last
# line for it says, or in clear from its own file if there is no line.
CHANGES = ("rename", "unlink", "symlink", "mkdir", "rmdir")


def shown_units(host):
    """For each unit that is there: the credentials that its files name, as systemd reads them."""
    name = "mcp-tunnel-renew-cert@default.service"
    found = {}
    for unit in (PROXY, CONNECTOR, host.signer.name, name):
        files = [host.units / unit, host.units / re.sub("@.*", "@.service", unit)]
        files += sorted((host.units / f"{unit}.d").glob("*.conf"))
        if not files[0].exists() and len(files) == 2:
            continue
        lines = [line for path in files if path.exists() for line in path.read_text().splitlines()]
        found[unit] = {
            value.split(":")[0]: (setting, Path(value.split(":")[1].replace("%i", "default")))
            for setting, _equals, value in (line.partition("=") for line in lines)
            if setting.startswith("LoadCredential")
        }
    return found


@functools.cache
def decrypted(content, name):
    """The content of an encrypted credential; None if it is not one of this name."""
    command = ["systemd-creds", "decrypt", f"--name={name}", "-", "-"]
    done = subprocess.run(command, input=content, capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else None


def lacks(host, units, secrets):
    """The units that would not start, or with another secret than one of these."""
    lost = []
    for unit, credentials in units.items():
        wanted = {PROXY: "tls.key", CONNECTOR: "tunnel-token", host.signer.name: "ca.key"}
        name = wanted.get(unit, "tls.key")
        setting, path = credentials.get(name, ("", host.key))
        if not path.exists():
            got = None
        elif setting.endswith("Encrypted"):
            got = decrypted(path.read_bytes(), name)
        else:
            got = path.read_bytes()
        if got is None or got.strip() not in secrets:
            lost.append((unit, setting, str(path)))
    return lost


def own(path, **more):
    return {"path": str(path), "owner": str(os.geteuid()), "group": str(os.getegid()), **more}


def write_units(host, form, token=SECRET):
    """As the roles do, in their order: the proxy's files, its key, and those of the connector."""
    setting = "LoadCredential" if form == "none" else "LoadCredentialEncrypted"
    key = "" if form == "none" else f"{setting}=tls.key:{host.key}\n"
    line = "" if form == "none" else f"{setting}=tunnel-token:{host.token}\n"
    base = host.units / "mcp-proxy@.service"
    renewal = host.units / "mcp-tunnel-renew-cert@default.service"
    contents = {
        base: "[Service]\n",
        host.of_proxy: f"[Service]\n{key}",
        renewal: f"[Service]\n{key}",
        host.signer: f"[Service]\n{setting}=ca.key:{host.ca}\n",
    }
    proxy = [own(path, content=text, mode="0644") for path, text in contents.items()]
    assert not run_module("file_set", entries=proxy).failed
    at_rest.convert(str(host.key.parent), form, False)
    connector = [
        own(host.base, content=host.base.read_text(), mode="0644"),
        own(host.of_connector, content=f"[Service]\n{line}", mode="0644"),
        own(host.token, secret_content=token.decode(), encryption=form, mode="0600"),
    ]
    assert not run_module("file_set", entries=connector).failed
    host.form = form


@pytest.fixture
def watched(host, monkeypatch):
    """What is wrong after each change of the file system: with a reboot, and with a restart.

    Nothing is watched before ``begin`` is called.
    """

    class Watch:
        wrong, count, secrets, loaded = [], 0, (SECRET,), None

        def begin(self):
            self.wrong, self.count = [], 0
            self.loaded = shown_units(host)
            self.look("before")

        def look(self, what):
            self.count += 1
            for when, units in (("reboot", shown_units(host)), ("restart", self.loaded)):
                self.wrong += [(what, when, *one) for one in lacks(host, units, self.secrets)]

    watch = Watch()

    def patch(name):
        original = getattr(os, name)

        def followed(*arguments, **keywords):
            result = original(*arguments, **keywords)
            if watch.loaded is not None:
                watch.look((name, *map(str, arguments)))
            return result

        monkeypatch.setattr(os, name, followed)

    def systemctl(verb, *_arguments):
        if verb == "daemon-reload" and watch.loaded is not None:
            watch.loaded = shown_units(host)
            watch.look("daemon-reload")
        return ""

    for name in CHANGES:
        patch(name)
    monkeypatch.setattr(systemd, "systemctl", systemctl)
    return watch


def services(host):
    proxy, connector = host.services()
    renewal = str(host.units / "mcp-tunnel-renew-cert@default.service")
    live = (*proxy.live_files, renewal)
    base = str(host.units / "mcp-proxy@.service")
    return [Service(PROXY, "proxy", "1", (base, *proxy.files), live), connector]


def put_in_place(host, form):
    """A run that comes to its end, whatever was left there."""
    write_units(host, form)
    state.apply(services(host), host.records, False, root=host.root)
    state.remember(services(host), host.records, host.root)


def left_beside(host):
    found = [*host.units.rglob("*former*"), *host.token.parents[1].rglob(".*.former*")]
    return [*found, *host.ca.parent.glob(".*.former*"), *host.units.glob("mcp-tunnel*.d")]


FORMS = [("none", "host"), ("host", "none"), ("none", "tpm2"), ("tpm2", "none")]


@pytest.fixture
def running(host, fake, watched):
    for path in (host.token, host.key, host.ca):
        host.write_secret(path, "none")
    return watched


@pytest.mark.parametrize(("before", "after"), FORMS)
@pytest.mark.parametrize("ends", ["well", "put back", "well, then put back"])
def test_a_service_can_start_at_every_moment(host, running, before, after, ends):
    """Whenever the host loses its power, or a service ends by itself, also with a new token."""
    put_in_place(host, before)
    running.secrets = (SECRET, b"another-token")
    running.begin()
    write_units(host, after, b"another-token")
    if ends != "put back":
        state.apply(services(host), host.records, False, root=host.root)
        assert host.forms() == [after] * 3
    if ends != "well":
        host.form = before
        state.restore(services(host), host.records, False, root=host.root)
        assert host.forms() == [before] * 3
    assert running.count > 10
    assert running.wrong == []
    assert left_beside(host) == []


@pytest.mark.parametrize(("before", "after"), FORMS[:2])
@pytest.mark.parametrize("then", ["on", "back"])
def test_a_run_that_was_killed_is_completed_while_services_can_start(
    host, running, before, after, then
):
    put_in_place(host, before)

    def switch():
        write_units(host, after)
        state.apply(services(host), host.records, False, root=host.root)

    kills, step = 0, 3
    while killed_after(step, switch):
        running.begin()
        put_in_place(host, after if then == "on" else before)
        assert running.wrong == [], step
        assert host.forms() == [after if then == "on" else before] * 3
        assert left_beside(host) == []
        running.loaded = None
        put_in_place(host, before)
        kills, step = kills + 1, step + 29
    assert kills > 2


@pytest.mark.parametrize(("before", "after"), FORMS[:2])
def test_a_pair_that_changes_meanwhile_is_the_same_in_both_forms(host, running, before, after):
    """A key that was brought takes the place of the former one in the run that changes forms."""
    put_in_place(host, before)
    running.begin()
    write_units(host, after)
    running.loaded = None
    at_rest.write_secret(str(host.key), b"brought-key", private_attributes())
    running.secrets = (b"brought-key", SECRET)
    units = {unit: each for unit, each in shown_units(host).items() if unit == PROXY}
    assert lacks(host, units, (b"brought-key",)) == []


@pytest.mark.parametrize("configured", ["none", "host"])
@pytest.mark.parametrize(("before", "after"), FORMS[:2])
@pytest.mark.parametrize("ends", ["before the drop-in is gone", "well"])
def test_a_signer_can_start_once_its_lost_state_is_back(
    host, running, monkeypatch, configured, before, after, ends
):
    """A change of form was killed, and then the state directory was lost, former key and all."""
    put_in_place(host, before)
    write_units(host, after)
    directory = host.ca.parent
    shutil.rmtree(directory)
    wanted = State({"ca.key": SECRET, "ca.crt": b"certificate"})

    def put():
        return restore.restore(str(directory), wanted, "2026-12-01T02:00:00Z", False, configured)

    if ends != "well":
        with monkeypatch.context() as patch:
            patch.setattr(restore.unit_secrets, "drop_lost_former", lambda _key: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                put()
    running.loaded = shown_units(host)
    assert put()["changed"]
    for units in (shown_units(host), running.loaded):
        assert lacks(host, {host.signer.name: units[host.signer.name]}, (SECRET,)) == []
    assert not list(host.units.glob(f"{host.signer.name}.d"))
    assert not put()["changed"]


def test_the_former_key_of_a_change_in_progress_stays_when_a_state_is_restored(host, running):
    put_in_place(host, "none")
    write_units(host, "host")
    wanted = State({"ca.key": SECRET})
    assert not restore.restore(str(host.ca.parent), wanted, "", False, "host")["changed"]
    assert lacks(host, shown_units(host), (SECRET,)) == []


def test_a_mask_in_the_place_of_a_unit_is_replaced(host, running):
    put_in_place(host, "none")
    host.of_proxy.unlink()
    host.of_proxy.symlink_to("/dev/null")
    write_units(host, "host")
    assert not host.of_proxy.is_symlink()


@pytest.mark.parametrize("handed", ["before", "never"])
@pytest.mark.parametrize("form", ["none", "host"])
def test_a_proxy_that_was_given_its_key_meanwhile_reads_its_file_again(
    host, running, fake, tmp_path, monkeypatch, handed, form
):
    """A change of form was killed, the proxy was restarted, and the next run goes back to none.

    Its files are those that were applied, but systemd has handed the key over, and would not again.
    """
    put_in_place(host, form)
    monkeypatch.setattr(unit_secrets, "HANDED_OVER", str(tmp_path / "credentials"))
    if handed == "before":
        key = tmp_path / "credentials" / PROXY / "tls.key"
        key.parent.mkdir(parents=True)
        key.write_bytes(SECRET)
    fake.clear()
    done = state.apply(services(host), host.records, False, root=host.root)
    restarted = [unit for unit, _forms in fake]
    stale = handed == "before" and form == "none"
    assert (PROXY in restarted) == done["changed"] == stale
    assert not stale or "was given its key while" in " ".join(done["actions"])
