"""Services that are reloaded, and services whose sockets systemd holds."""

from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import running_code, systemd
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host.listeners import Listener
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica import services
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica import (
    state as replica_state,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica.records import Records
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica.services import Service

PROXY, CONNECTOR = "mcp-proxy@default.service", "mcp-cloudflared@default.service"
SOCKET = "mcp-proxy@default.socket"


class Host:
    """Files, and a systemd that obeys."""

    def __init__(self, directory, monkeypatch):
        self.directory = directory
        self.records = Records("default", directory / "records")
        self.active = {}
        self.enabled = set()
        self.verbs = []
        self.with_socket = True
        self.version = "1"
        self.takeover = True
        self.runs = ""  # the release that the proxy's process has really loaded, once it is known
        self.obeys = True  # whether it becomes the release on disk when it reloads
        self.hangs = ""  # systemd's message about a reload that does not end
        for part in ("proxy", "cloudflared"):
            for version in ("1", "2"):
                (directory / "opt" / part / version / "bin").mkdir(parents=True)
        for name in ("proxy.yaml", "ca", "unit", "socket", "token"):
            self.write(name, "first")
        monkeypatch.setattr(systemd, "show", self.show)
        monkeypatch.setattr(systemd, "systemctl", self.systemctl)
        monkeypatch.setattr(systemd, "enforce", self.enforce)
        monkeypatch.setattr(systemd, "reload", self.reload)
        monkeypatch.setattr(running_code, "problem", self.problem)

    def path(self, name):
        return str(self.directory / name)

    def write(self, name, content):
        (self.directory / name).write_text(content)

    def show(self, names):
        return [
            systemd.Unit(
                name=name,
                active=self.active.get(name, "inactive"),
                sub="",
                enabled=name in self.enabled,
                needs_reload=False,
                loaded=name != SOCKET or (self.directory / "socket").exists(),
                restarts=0,
            )
            for name in names
        ]

    def systemctl(self, verb, *arguments):
        units = [item for item in arguments if not item.startswith("--")]
        self.verbs.append(" ".join([verb, *units]))
        for unit in units:
            if verb == "enable":
                self.enabled.add(unit)
            elif verb in ("start", "restart", "stop"):
                self.active[unit] = "inactive" if verb == "stop" else "active"
        return ""

    def enforce(self, verb, *units):
        self.systemctl(verb, *units)
        if verb == "restart" and PROXY in units:
            self.runs = self.version
        return False

    def reload(self, unit):
        self.systemctl("reload", unit)
        if self.obeys:
            self.runs = self.version
        return self.hangs

    def problem(self, unit, release):
        if unit != PROXY or not self.runs or release.name == self.runs:
            return ""
        return f"its main process 7 runs release {self.runs}"

    def services(self):
        files = ["proxy.yaml", "ca", "unit", *(["socket"] if self.with_socket else [])]
        return [
            Service(
                PROXY,
                "proxy",
                self.version,
                tuple(map(self.path, files)),
                reload_files=(self.path("proxy.yaml"), self.path("ca")),
                socket=SOCKET if self.with_socket else "",
                socket_files=(self.path("socket"),) if self.with_socket else (),
                takeover=self.takeover,
            ),
            Service(CONNECTOR, "cloudflared", "1", (self.path("token"),)),
        ]

    def apply(self, check_mode=False, pending=()):
        self.verbs.clear()
        root = self.directory / "opt"
        paths = frozenset(map(self.path, pending))
        return replica_state.apply(self.services(), self.records, check_mode, paths, root)

    def remember(self):
        return replica_state.remember(self.services(), self.records, self.directory / "opt")

    def restore(self):
        self.verbs.clear()
        root = self.directory / "opt"
        return replica_state.restore(self.services(), self.records, False, frozenset(), root)


@pytest.fixture
def host(tmp_path, monkeypatch):
    return Host(tmp_path, monkeypatch)


@pytest.fixture
def deployed(host):
    host.apply()
    host.remember()
    return host


def test_the_socket_is_there_before_its_service(host):
    host.apply()
    assert host.verbs.index(f"start {SOCKET}") < host.verbs.index(f"restart {PROXY}")
    assert host.enabled == {PROXY, CONNECTOR}
    assert host.apply() == {"changed": False, "actions": [], "proven": False}
    assert host.verbs == []


@pytest.mark.parametrize("names", [["proxy.yaml"], ["ca"], ["proxy.yaml", "ca"]])
def test_what_can_be_reloaded_is(deployed, names):
    for name in names:
        deployed.write(name, "second")
    told = ", ".join(f"{deployed.path(name)} changed" for name in names)
    result = deployed.apply()
    assert result["actions"] == [f"{PROXY} reloaded: {told}"]
    assert deployed.verbs == [f"reload {PROXY}"]
    assert deployed.apply()["changed"] is False


def test_another_release_takes_over_in_place(deployed):
    deployed.version = "2"
    result = deployed.apply()
    assert result["actions"] == [
        "proxy 2 activated",
        f"{PROXY} reloaded: release 1 became 2",
    ]
    assert deployed.verbs == [f"reload {PROXY}"]
    deployed.remember()
    deployed.version = "1"
    deployed.write("unit", "second")
    deployed.apply()
    assert deployed.verbs == ["daemon-reload", f"restart {PROXY}"]


def test_what_cannot_be_reloaded_restarts_and_leaves_socket_and_connector_alone(deployed):
    deployed.write("proxy.yaml", "second")
    deployed.write("unit", "second")
    deployed.apply()
    assert deployed.verbs == ["daemon-reload", f"restart {PROXY}"]


def test_a_changed_socket_unit_means_a_new_socket(deployed):
    deployed.write("socket", "second")
    deployed.apply()
    assert deployed.verbs == [
        "daemon-reload",
        f"stop {CONNECTOR}",
        f"stop {SOCKET}",
        f"stop {PROXY}",
        f"start {SOCKET}",
        f"restart {PROXY}",
        f"restart {CONNECTOR}",
    ]


def test_the_service_has_the_port_until_the_socket_comes(host):
    """The socket unit is new: the running service listens by itself."""
    host.with_socket = False
    host.apply()
    host.remember()
    host.with_socket = True
    host.apply()
    assert host.verbs[1:5] == [
        f"stop {CONNECTOR}",
        f"stop {PROXY}",
        f"start {SOCKET}",
        f"restart {PROXY}",
    ]


def test_a_stopped_socket_is_started(deployed):
    deployed.active[SOCKET] = "inactive"
    (action,) = deployed.apply()["actions"]
    assert action == f"{PROXY} started: {SOCKET} was inactive"
    assert deployed.active[SOCKET] == "active"


def test_a_changed_token_restarts_the_connector_only(deployed):
    deployed.write("token", "second")
    deployed.write("unit", "second")
    deployed.apply()
    assert deployed.verbs == ["daemon-reload", f"restart {PROXY}", f"restart {CONNECTOR}"]


def test_check_mode_knows_a_reload_from_a_restart(deployed):
    (action,) = deployed.apply(check_mode=True, pending=["proxy.yaml"])["actions"]
    assert action == f"{PROXY} reloaded: {deployed.path('proxy.yaml')} would change"
    (action,) = deployed.apply(check_mode=True, pending=["proxy.yaml", "unit"])["actions"]
    assert action.startswith(f"{PROXY} started: ")
    assert deployed.verbs == []


def test_put_back_with_its_socket(deployed):
    deployed.write("proxy.yaml", "bad")
    deployed.apply()
    deployed.restore()
    assert (deployed.directory / "proxy.yaml").read_text() == "first"
    assert deployed.active == {SOCKET: "active", PROXY: "active", CONNECTOR: "active"}


def test_put_back_to_a_release_without_a_socket(host):
    host.with_socket = False
    (host.directory / "socket").unlink()
    host.apply()
    host.remember()
    host.with_socket = True
    host.write("socket", "new")
    host.apply()
    (host.directory / "socket").unlink()
    host.restore()
    assert host.active == {SOCKET: "inactive", PROXY: "active", CONNECTOR: "active"}


def test_removal_stops_the_socket_first(deployed):
    deployed.verbs.clear()
    replica_state.remove(deployed.services(), deployed.records, check_mode=False)
    assert deployed.verbs[:3] == [f"stop {CONNECTOR}", f"stop {SOCKET}", f"stop {PROXY}"]


def test_a_release_that_does_not_let_go_is_restarted(deployed):
    """It reports that the reload went well: only a look from outside shows that it did not."""
    deployed.obeys = False
    deployed.runs = "1"
    deployed.version = "2"
    result = deployed.apply()
    assert deployed.verbs == [f"reload {PROXY}", f"restart {PROXY}"]
    assert result["actions"][-1] == f"{PROXY} restarted: its main process 7 runs release 1"
    assert deployed.apply()["changed"] is False


def test_a_reload_that_does_not_end_is_a_restart(deployed):
    deployed.hangs = "its reload did not end in time"
    deployed.write("proxy.yaml", "second")
    result = deployed.apply()
    assert deployed.verbs == [f"reload {PROXY}", f"restart {PROXY}"]
    assert result["actions"][-1] == f"{PROXY} restarted: its reload did not end in time"


def test_other_code_than_was_started_is_restarted_without_a_change(deployed):
    deployed.runs = "0"
    (action,) = deployed.apply()["actions"]
    assert action == f"{PROXY} started: its main process 7 runs release 0"
    assert deployed.verbs == ["daemon-reload", f"restart {PROXY}"]


def test_a_release_that_another_instance_has_brought_is_no_stranger(deployed):
    deployed.runs = deployed.version = "2"
    deployed.apply()
    assert deployed.verbs == [f"reload {PROXY}"]


def test_a_release_that_is_not_to_take_over_is_started_anew(deployed):
    deployed.takeover = False
    deployed.version = "2"
    deployed.apply()
    assert deployed.verbs == ["daemon-reload", f"restart {PROXY}"]
    deployed.write("proxy.yaml", "second")
    deployed.apply()
    assert deployed.verbs == [f"reload {PROXY}"]


def test_whoever_has_the_sockets_port_is_named(deployed, monkeypatch):
    def systemctl(verb, *arguments):
        if (verb, *arguments) == ("start", SOCKET):
            raise TunnelError("systemd", "systemctl start failed: Address already in use", "Look")
        return deployed.systemctl(verb, *arguments)

    monkeypatch.setattr(systemd, "systemctl", systemctl)
    monkeypatch.setattr(systemd, "ports", lambda socket: [8080, 8081])
    squatter = Listener(42, "nc", "", 65534)
    found = {8081: squatter}
    monkeypatch.setattr(services, "find_listener", found.get)
    deployed.write("socket", "second")
    with pytest.raises(TunnelError) as caught:
        deployed.apply()
    assert str(caught.value).startswith(f"{SOCKET}: port 8081 is held by nc (process 42, user ")
    assert "8080" not in str(caught.value)
