"""The cases that restart a service, those that do not, and what a roll-back brings back."""

from __future__ import annotations

import os

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import running_code, systemd
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica import (
    state as replica_state,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica.records import Records
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica.releases import Releases
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica.services import Service

PROXY, CONNECTOR = "mcp-proxy@default.service", "mcp-cloudflared@default.service"


class Systemd:
    """A systemd that obeys, unless ``refuse`` names the unit."""

    def __init__(self):
        self.active = {}
        self.enabled = set()
        self.verbs = []
        self.refuse = ""
        self.stubborn = set()

    def show(self, names):
        return [
            systemd.Unit(
                name=name,
                active=self.active.get(name, "inactive"),
                sub="",
                enabled=name in self.enabled,
                needs_reload=False,
                loaded=True,
                restarts=0,
            )
            for name in names
        ]

    def enforce(self, verb, *units):
        self.systemctl(verb, *units)
        return bool(self.stubborn.intersection(units))

    def systemctl(self, verb, *arguments):
        units = [item for item in arguments if not item.startswith("--")]
        self.verbs.append(" ".join([verb, *units]))
        if verb == "restart" and self.refuse in units:
            self.active[self.refuse] = "failed"
            raise TunnelError(self.refuse, "systemctl restart failed", "Look")
        for unit in units:
            if verb == "enable":
                self.enabled.add(unit)
            elif verb == "disable":
                self.enabled.discard(unit)
            else:
                stopped = "failed" if unit in self.stubborn else "inactive"
                self.active[unit] = {"restart": "active", "stop": stopped}.get(verb, "inactive")
        return ""


class Host:
    """A host with two releases of each part and the files of both services."""

    def __init__(self, directory):
        self.root = directory / "opt"
        self.files = directory / "etc"
        self.files.mkdir()
        self.records = Records("default", directory / "records")
        self.versions = {"proxy": "1", "cloudflared": "1"}
        for part in self.versions:
            for version in ("1", "2"):
                binary = self.root / part / version / "bin" / part
                binary.parent.mkdir(parents=True)
                binary.write_text(version)
        for name in ("proxy.yaml", "token", "tls.key"):
            self.write(name, "first")

    def write(self, name, content, mode=0o640):
        (self.files / name).write_text(content)
        (self.files / name).chmod(mode)

    def read(self, name):
        return (self.files / name).read_text()

    def services(self):
        return [
            Service(
                PROXY, "proxy", self.versions["proxy"],
                (str(self.files / "proxy.yaml"),), (str(self.files / "tls.key"),),
            ),
            Service(
                CONNECTOR, "cloudflared", self.versions["cloudflared"],
                (str(self.files / "token"), str(self.files / "extra")),
            ),
        ]  # fmt: skip

    def apply(self, check_mode=False, pending=(), away=(), unproven=()):
        return replica_state.apply(
            *(self.services(), self.records, check_mode, frozenset(pending), self.root, dict(away)),
            unproven=unproven,
        )

    def remember(self):
        return replica_state.remember(self.services(), self.records, self.root)

    def restore(self, check_mode=False, kept=(), away=(), leaves_edge=False):
        return replica_state.restore(
            *(self.services(), self.records, check_mode, frozenset(kept), self.root, away),
            leaves_edge=leaves_edge,
        )

    def renew(self, check_mode=False):
        return replica_state.renew(self.services(), self.records, check_mode)

    def remove(self, check_mode=False, **options):
        return replica_state.remove(self.services(), self.records, check_mode, **options)


@pytest.fixture
def fake(monkeypatch):
    fake = Systemd()
    monkeypatch.setattr(systemd, "show", fake.show)
    monkeypatch.setattr(systemd, "systemctl", fake.systemctl)
    monkeypatch.setattr(systemd, "enforce", fake.enforce)
    monkeypatch.setattr(running_code, "problem", lambda unit, release: "")
    return fake


@pytest.fixture
def host(tmp_path, fake):
    return Host(tmp_path)


@pytest.fixture
def deployed(host, fake):
    host.apply()
    host.remember()
    fake.verbs.clear()
    return host


def test_first_deployment(host, fake):
    result = host.apply()
    assert result["changed"] is True
    assert result["proven"] is False
    assert fake.active == {PROXY: "active", CONNECTOR: "active"}
    assert fake.enabled == {PROXY, CONNECTOR}
    assert fake.verbs[0] == "daemon-reload"
    assert Releases("proxy", host.root).current() == "1"


def test_nothing_to_do(deployed, fake):
    result = deployed.apply()
    assert result == {"changed": False, "actions": [], "proven": True}
    assert fake.verbs == []


def test_check_mode_predicts_and_does_nothing(host, fake, tmp_path):
    result = host.apply(check_mode=True)
    assert result["changed"] is True
    assert fake.verbs == []
    assert not (tmp_path / "records").exists()
    assert Releases("proxy", host.root).current() == ""


def test_check_mode_knows_what_earlier_tasks_would_have_changed(deployed):
    result = deployed.apply(check_mode=True, pending=[str(deployed.files / "token")])
    assert [action.split(":")[0] for action in result["actions"]] == [f"{CONNECTOR} started"]


def test_a_changed_token_restarts_the_connector_only(deployed, fake):
    deployed.write("token", "second")
    assert deployed.apply()["changed"] is True
    assert fake.verbs == ["daemon-reload", f"restart {CONNECTOR}"]


def test_a_changed_proxy_takes_the_connector_off_the_edge_first(deployed, fake):
    deployed.write("proxy.yaml", "second")
    deployed.apply()
    assert fake.verbs == [
        "daemon-reload",
        f"stop {CONNECTOR}",
        f"restart {PROXY}",
        f"restart {CONNECTOR}",
    ]


def test_a_new_release_is_activated_and_started(deployed, fake):
    deployed.versions["proxy"] = "2"
    result = deployed.apply()
    assert result["actions"][0] == "proxy 2 activated"
    assert Releases("proxy", deployed.root).current() == "2"
    assert f"restart {PROXY}" in fake.verbs


def test_a_binary_that_its_package_replaced(deployed, fake):
    binary = deployed.root / "cloudflared/1/bin/cloudflared"
    binary.write_text("replaced")
    deployed.apply()
    assert f"restart {CONNECTOR}" in fake.verbs


def test_a_release_that_another_instance_activated_restarts_this_one_when_it_gets_it(
    deployed, fake
):
    Releases("proxy", deployed.root).activate("2")
    deployed.versions["proxy"] = "2"
    deployed.apply()
    assert f"restart {PROXY}" in fake.verbs


def test_a_changed_certificate_restarts_nothing_but_has_to_be_proven(deployed, fake):
    deployed.write("tls.key", "second")
    result = deployed.apply()
    assert (result["changed"], result["proven"]) == (False, False)
    assert fake.verbs == []
    deployed.remember()
    assert deployed.apply()["proven"] is True


def test_a_file_that_appears_or_goes_restarts(deployed, fake):
    deployed.write("extra", "x")
    deployed.apply()
    (deployed.files / "extra").unlink()
    deployed.apply()
    assert fake.verbs.count(f"restart {CONNECTOR}") == 2


def test_a_stopped_service_is_started(deployed, fake):
    fake.active[CONNECTOR] = "inactive"
    assert deployed.apply()["changed"] is True
    assert fake.verbs == ["daemon-reload", f"restart {CONNECTOR}"]


def test_a_failed_service_is_forgiven_first(deployed, fake):
    fake.active[PROXY] = "failed"
    deployed.apply()
    assert fake.verbs.index(f"reset-failed {PROXY}") < fake.verbs.index(f"restart {PROXY}")


def test_a_disabled_service_is_enabled_without_a_restart(deployed, fake):
    fake.enabled.remove(CONNECTOR)
    assert deployed.apply()["actions"] == [f"{CONNECTOR} enabled"]
    assert fake.verbs == [f"enable {CONNECTOR}"]


def test_a_run_that_was_killed_between_writing_and_restarting_is_completed(deployed, fake):
    deployed.write("proxy.yaml", "second")
    fake.refuse = PROXY  # as good as killed: nothing is recorded
    with pytest.raises(TunnelError):
        deployed.apply()
    fake.refuse = ""
    fake.active[PROXY] = "active"  # systemd's own restart, or a reboot
    fake.verbs.clear()
    assert deployed.apply()["changed"] is True
    assert f"restart {PROXY}" in fake.verbs


def test_put_back_with_contents_modes_and_release(deployed, fake):
    deployed.write("proxy.yaml", "bad", mode=0o600)
    deployed.write("extra", "bad")
    deployed.write("tls.key", "bad")
    deployed.versions["proxy"] = "2"
    deployed.apply()
    fake.verbs.clear()
    result = deployed.restore()
    assert result["restored"] is True
    assert deployed.read("proxy.yaml") == deployed.read("tls.key") == "first"
    assert (deployed.files / "proxy.yaml").stat().st_mode & 0o777 == 0o640
    assert not (deployed.files / "extra").exists()
    assert Releases("proxy", deployed.root).current() == "1"
    assert fake.verbs[-2:] == [f"restart {PROXY}", f"restart {CONNECTOR}"]
    deployed.versions["proxy"] = "1"
    assert deployed.apply() == {"changed": False, "actions": [], "proven": True}


def test_put_back_after_a_failed_start(deployed, fake):
    deployed.write("proxy.yaml", "bad")
    fake.refuse = PROXY
    with pytest.raises(TunnelError):
        deployed.apply()
    fake.refuse = ""
    deployed.restore()
    assert deployed.read("proxy.yaml") == "first"
    assert fake.active == {PROXY: "active", CONNECTOR: "active"}


def test_put_back_in_check_mode_changes_nothing(deployed, fake):
    deployed.write("proxy.yaml", "bad")
    assert deployed.restore(check_mode=True)["changed"] is True
    assert deployed.read("proxy.yaml") == "bad"
    assert fake.verbs == []


def test_a_replica_that_was_never_good_leaves_the_edge(host, fake):
    """There is nothing to put back, and its requests are answered by others."""
    host.apply()
    fake.verbs.clear()
    told = [f"{CONNECTOR} stopped", f"{CONNECTOR} disabled"]
    expected = {"changed": True, "restored": False, "actions": told}
    assert host.restore(check_mode=True, leaves_edge=True) == expected
    assert fake.verbs == []
    assert host.restore(leaves_edge=True) == expected
    assert fake.active == {PROXY: "active", CONNECTOR: "inactive"}
    assert fake.enabled == {PROXY}, "no reboot starts it"
    assert host.restore(leaves_edge=True) == {"changed": False, "restored": False, "actions": []}


def test_a_connector_that_has_to_be_killed_leaves_the_edge(host, fake):
    host.apply()
    fake.stubborn = {CONNECTOR}
    assert (
        f"{CONNECTOR} killed: it did not end in time" in host.restore(leaves_edge=True)["actions"]
    )
    assert CONNECTOR not in fake.enabled
    assert fake.verbs[-1] == f"reset-failed {CONNECTOR}"


def test_the_only_replica_stays_at_the_edge(host, fake):
    """It may serve: a run was killed before it remembered that."""
    host.apply()
    fake.verbs.clear()
    assert host.restore() == {"changed": False, "restored": False, "actions": []}
    assert fake.verbs == []


def test_nothing_to_put_back_on_a_bare_host(host, fake):
    assert host.restore(leaves_edge=True) == {"changed": False, "restored": False, "actions": []}
    assert fake.verbs == []


def test_records_are_for_root_only_and_do_not_pile_up(deployed, tmp_path):
    for number in range(5):
        deployed.write("token", f"token {number}")
        deployed.apply()
        deployed.remember()
    directory = tmp_path / "records" / "default"
    assert directory.stat().st_mode & 0o777 == 0o700
    contents = [path for path in directory.iterdir() if path.suffix != ".json"]
    assert {path.stat().st_mode & 0o777 for path in contents} == {0o600}
    assert {path.read_text() for path in contents} == {"first", "token 4"}


def test_old_releases_go_unless_another_instance_needs_them(deployed, tmp_path):
    for version in ("3", "4", "5"):
        (deployed.root / "proxy" / version / "bin").mkdir(parents=True)
    for number, version in enumerate(("1", "2", "3", "4", "5")):
        os.utime(deployed.root / "proxy" / version, (number, number))
    other = Records("other", tmp_path / "records")
    other.store("good", {"x": {"part": "proxy", "version": "2", "files": {}}})
    deployed.versions["proxy"] = "5"
    deployed.apply()
    assert deployed.remember()["removed_releases"] == ["proxy 1", "proxy 3"]


def test_a_record_that_names_a_file_of_before_restarts(deployed, fake, monkeypatch):
    """A later version of the roles may read fewer files than this one."""
    everything = deployed.services()
    fewer = [everything[0], Service(CONNECTOR, "cloudflared", "1", everything[1].files[:1])]
    monkeypatch.setattr(deployed, "services", lambda: fewer)
    deployed.apply()
    assert f"restart {CONNECTOR}" in fake.verbs


def test_removal_leaves_no_failed_unit(deployed, fake):
    """A unit that had to be killed failed by its stop, not before it."""
    fake.stubborn = {CONNECTOR}
    deployed.remove()
    assert fake.active[CONNECTOR] == "inactive"
    assert fake.verbs.index(f"stop {CONNECTOR}") < fake.verbs.index(f"reset-failed {CONNECTOR}")


def test_removal_stops_in_the_reverse_order_and_forgets(deployed, fake, tmp_path):
    result = deployed.remove()
    assert result["changed"]
    assert result["alone"]
    assert fake.verbs == [f"stop {CONNECTOR}", f"stop {PROXY}", f"disable {CONNECTOR} {PROXY}"]
    assert not (tmp_path / "records" / "default").exists()
    fake.verbs.clear()
    again = deployed.remove()
    assert (again["changed"], again["actions"], fake.verbs) == (False, [], [])


def test_removal_in_check_mode_changes_nothing(deployed, fake, tmp_path):
    assert deployed.remove(check_mode=True)["changed"]
    assert fake.verbs == []
    assert (tmp_path / "records" / "default").exists()


def test_a_removal_that_keeps_what_ran_changes_nothing_twice(deployed, fake, tmp_path):
    """Of a host that was broken into: it is evidence."""
    before = sorted(path.read_bytes() for path in (tmp_path / "records" / "default").iterdir())
    assert deployed.remove(keeps_records=True)["changed"]
    kept = sorted(path.read_bytes() for path in (tmp_path / "records" / "default").iterdir())
    assert kept == before != []
    assert not deployed.remove(keeps_records=True)["changed"]
    assert deployed.remove()["actions"] == ["records removed"]


def test_removal_beside_another_instance(deployed, tmp_path):
    (tmp_path / "records" / "other").mkdir()
    assert not deployed.remove()["alone"]


def test_a_renewal_outside_a_deployment_is_what_is_put_back(deployed, fake):
    deployed.write("tls.key", "renewed")
    deployed.renew(check_mode=True)
    assert not deployed.apply(check_mode=True)["proven"]
    deployed.renew()
    assert deployed.apply()["proven"]
    deployed.write("proxy.yaml", "broken")
    deployed.restore()
    assert deployed.read("tls.key") == "renewed"
    assert deployed.read("proxy.yaml") == "first"


def test_a_renewal_is_proven_once_it_is_remembered(deployed, fake):
    assert deployed.renew(check_mode=True)["proven"]
    deployed.write("tls.key", "renewed")
    for _dummy in range(2):
        assert not deployed.renew(check_mode=True)["proven"]
    assert not deployed.renew()["proven"]
    assert deployed.renew(check_mode=True)["proven"]
    deployed.write("tls.key", "renewed", mode=0o644)
    assert not deployed.renew(check_mode=True)["proven"]


def test_nothing_is_proven_where_nothing_was_remembered(host, fake):
    assert not host.renew(check_mode=True)["proven"]
    host.apply()
    assert not host.renew(check_mode=True)["proven"]


def test_a_token_that_is_dead_is_not_put_back(deployed, fake):
    """With programmatic access, the API has another token, and refuses the old one."""
    deployed.write("token", "rotated")
    deployed.write("proxy.yaml", "broken")
    deployed.apply()
    deployed.restore(kept=[str(deployed.files / "token")])
    assert deployed.read("token") == "rotated"
    assert deployed.read("proxy.yaml") == "first"


def test_a_service_that_had_to_be_killed_is_named(deployed, fake):
    fake.stubborn.add(PROXY)
    assert f"{PROXY} killed: it did not end in time" in deployed.remove()["actions"]


AWAY = {CONNECTOR: "drained since yesterday"}


@pytest.fixture
def drained(deployed, fake):
    fake.active[CONNECTOR] = "inactive"
    return deployed


def test_a_drained_replica_with_nothing_to_do(drained, fake):
    assert drained.apply(away=AWAY) == {"changed": False, "actions": [], "proven": True}
    assert fake.verbs == []


def test_a_drained_replica_gets_everything_and_starts_no_connector(drained, fake):
    """Neither for its own files, nor because its proxy restarts."""
    drained.versions.update(proxy="2", cloudflared="2")
    for name in ("token", "proxy.yaml"):
        drained.write(name, "second")
    result = drained.apply(away=AWAY)
    assert [f"{part} 2 activated" in result["actions"] for part in drained.versions] == [True, True]
    assert not [action for action in result["actions"] if action.startswith(CONNECTOR)]
    assert fake.verbs == ["daemon-reload", f"restart {PROXY}"]
    assert drained.apply(away=AWAY)["changed"] is False


@pytest.mark.parametrize("active", ["active", "activating"])
def test_a_drained_connector_that_runs_is_stopped(deployed, fake, active):
    """A drain was killed between its two steps."""
    fake.active[CONNECTOR] = active
    told = [f"{CONNECTOR} stopped: drained since yesterday"]
    assert deployed.apply(check_mode=True, away=AWAY)["actions"] == told
    assert fake.verbs == []
    assert deployed.apply(away=AWAY)["actions"] == told
    assert fake.verbs == [f"stop {CONNECTOR}"]
    assert deployed.apply(away=AWAY)["changed"] is False


def test_a_first_deployment_of_a_drained_replica(host, fake):
    host.apply(away=AWAY)
    assert fake.active == {PROXY: "active"}
    assert fake.enabled == {PROXY, CONNECTOR}, "it comes back at the next boot after the drain"


def test_a_connector_that_waits_is_started_by_no_reboot(host, fake):
    held = {CONNECTOR: "waits until all else works"}
    host.apply(away=held, unproven=held)
    assert fake.active == {PROXY: "active"}
    assert fake.enabled == {PROXY}
    assert host.apply(away=held, unproven=held)["changed"] is False
    assert f"{CONNECTOR} enabled" in host.apply()["actions"]
    assert fake.active == {PROXY: "active", CONNECTOR: "active"}
    assert fake.enabled == {PROXY, CONNECTOR}


def test_a_drained_replica_is_put_back_without_its_connector(drained, fake):
    drained.write("proxy.yaml", "second")
    drained.apply(away=AWAY)
    fake.verbs.clear()
    assert drained.restore(away=AWAY)["restored"] is True
    assert drained.read("proxy.yaml") == "first"
    assert fake.verbs == ["daemon-reload", f"restart {PROXY}"]


def test_a_drain_that_has_ended_starts_the_connector(drained, fake):
    assert drained.apply()["actions"] == [f"{CONNECTOR} started: it was inactive"]
