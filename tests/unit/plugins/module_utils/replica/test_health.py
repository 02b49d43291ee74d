"""The health check against the real proxy, with real TLS and a real upstream."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import random
import re
import socket
import subprocess
import sys
import threading
import time
import types
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import (
    listeners,
    loopback,
    running_code,
    selinux_labels,
    systemd,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica import health, routes
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import openssl

SOURCE = Path(__file__).resolve().parents[5] / "proxy_src" / "src"
ERRORS = re.compile("`((?:connection|destination|dns|http|proxy|tls)_[a-z_]+)`")
UNITS = ("mcp-proxy@default.service", "mcp-cloudflared@default.service")


class Upstream(http.server.BaseHTTPRequestHandler):
    """Answer with the server's ``replies`` for the path, else its ``reply``: status, body."""

    def do_GET(self):
        self.server.asked.append(f"{self.command} {self.path}")
        status, body = self.server.replies.get(self.path, self.server.reply)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_OPTIONS = do_POST = do_GET

    def log_message(self, *arguments):
        pass


@contextlib.contextmanager
def serving():
    """Give a function that starts HTTP servers: reply -> server, whose ``reply`` may be changed."""
    servers = []

    def start(status, body):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
        server.reply = (status, body)
        server.replies = {}
        server.asked = []
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def serve():
    """Start HTTP servers, which end with the test."""
    with serving() as start:
        yield start


#: A socket for each port that was handed out: see free_ports.
_claims = []


def free_ports(number):
    """Return so many ports that nobody listens at.

    No connection gets one before the proxy does: they are below those that the kernel takes for
    connections. Nor does another test: the name of a socket, which lives as long as this process,
    claims it (lab/tests/loopback.py has the same names).
    """
    found = []
    while len(found) < number:
        port = random.randrange(20000, 30000)
        claim = socket.socket(socket.AF_UNIX)
        with contextlib.suppress(OSError):
            claim.bind(f"\0mcp-tunnel-tests 127.0.0.1:{port}")
            with socket.create_server(("127.0.0.1", port)):
                found.append(port)
                _claims.append(claim)
                continue
        claim.close()
    return tuple(found)


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """The proxy, or a server in this process, may have to wait for a processor."""
    monkeypatch.setattr(loopback, "_TIMEOUT", 60.0)
    monkeypatch.setattr(loopback, "_WHOLE_SECONDS", 60.0)


def wait_until_ready(process, admin_port):
    """Return when the proxy is ready. Its start takes long on a busy machine."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, process.stdout.read().decode()
        try:
            with opener.open(f"http://127.0.0.1:{admin_port}/readyz", timeout=30):
                return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("the proxy does not become ready")


class Setup:
    """A proxy, the edge's side as cloudflared reports it, and the routes of the replica."""

    def __init__(self, directory, serve, ca, monkeypatch):
        self.edge = serve(200, b'{"status":200,"readyConnections":4}')
        self.upstream = serve(404, b"nothing at /")
        self.active = dict.fromkeys(UNITS, "active")
        self.enabled = dict.fromkeys(UNITS, True)
        monkeypatch.setattr(systemd, "show", self.show)
        # cloudflared's unit, as `systemctl show` prints it.
        self.shown = "DropInPaths=\nExecMainStatus=0\nSubState=running\n"
        monkeypatch.setattr(systemd, "systemctl", lambda *_arguments: self.shown)
        monkeypatch.setattr(systemd, "journal", lambda unit, lines=8: [f"line of {unit}"])
        # The answering process is looked up for real; the unit that it belongs to is made up.
        self.units = {os.getpid(): UNITS[1]}
        monkeypatch.setattr(loopback, "answerer", self.answerer)
        self.releases = {}
        self.ca_certificate = ca[0]
        self.routes = {"echo": f"http://127.0.0.1:{self.upstream.server_address[1]}"}
        self.ports = free_ports(2)
        self.rules([{"service": f"http://127.0.0.1:{self.ports[0]}"}])
        server_cert, server_key = openssl.make_server(directory / "server", ca)
        (directory / "tls.crt").write_text(server_cert)
        (directory / "tls.key").write_text(server_key)
        self.directory = directory
        self.drained = ""
        self.returning = ""
        self.at_edge = True
        self.route_options = {}
        #: Names of the routes that must answer; None for all.
        self.required = None

    def show(self, names):
        return [
            systemd.Unit(name, self.active[name], "running", self.enabled[name], False, True, 0)
            for name in names
        ]

    def answerer(self, connection, seconds):
        found = listeners.answerer(connection, seconds, self.proc())
        if found is None or not found.pid:
            return found
        parent = int(Path(f"/proc/{found.pid}/stat").read_text().rpartition(")")[2].split()[1])
        unit = self.units.get(found.pid, self.units.get(parent, ""))
        return replace(found, unit=unit)

    def proc(self):
        """The part of /proc that matters here: a busy machine has thousands of descriptors."""
        place = self.directory / "proc"
        place.mkdir(exist_ok=True)
        names = ["net", str(os.getpid())]
        for pid in self.units:
            with contextlib.suppress(OSError):
                children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
                names += [str(pid), *children.split()]
        for name in names:
            with contextlib.suppress(FileExistsError):
                (place / name).symlink_to(f"/proc/{name}")
        return place

    def rules(self, ingress):
        shown = {"version": -1, "config": {"ingress": ingress}}
        self.edge.replies["/config"] = (200, json.dumps(shown).encode())

    @contextlib.contextmanager
    def proxy_at_work(self):
        """Run the proxy with the present routes and options."""
        process = self.start_proxy()
        try:
            yield
        finally:
            process.terminate()
            process.communicate(timeout=120)

    def start_proxy(self):
        listen, admin = self.ports
        config = {
            "listen_addr": f"127.0.0.1:{listen}",
            "admin_addr": f"127.0.0.1:{admin}",
            "workers": 1,
            "tunnel_domain": openssl.DOMAIN,
            "tls": {
                "cert_file": str(self.directory / "tls.crt"),
                "key_file": str(self.directory / "tls.key"),
            },
            "routes": self.routes,
            "route_options": self.route_options,
            "upstream": {"allowed_ips": ["127.0.0.0/8"]},
        }
        path = self.directory / "proxy.yaml"
        path.write_text(json.dumps(config))
        process = subprocess.Popen(
            [sys.executable, "-m", "mcp_proxy", "serve", "--config", str(path)],
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.units[process.pid] = UNITS[0]
        try:
            wait_until_ready(process, admin)
        except BaseException:
            process.kill()
            process.communicate()
            raise
        return process

    def examine(self, timeout=0.0):
        replica = health.Replica(
            proxy_unit=UNITS[0],
            cloudflared_unit=UNITS[1],
            listen_port=self.ports[0],
            admin_port=self.ports[1],
            metrics_port=self.edge.server_address[1],
            domain=openssl.DOMAIN,
            routes=self.routes,
            required_routes=self.routes if self.required is None else self.required,
            ca_certificate=self.ca_certificate,
            releases=self.releases,
            drained=self.drained,
            returning=self.returning,
            edge=self.at_edge,
            route_options=self.route_options,
        )
        return health.examine(replica, timeout)

    def failed(self):
        return [(item.layer, item.detail) for item in self.examine() if not item.ok]


@pytest.fixture
def setup(tmp_path, serve, openssl_ca, monkeypatch):
    return Setup(tmp_path, serve, openssl_ca, monkeypatch)


@pytest.fixture
def own_replica(setup):
    """A replica whose upstream may be stopped."""
    with setup.proxy_at_work():
        yield setup


def _scope(fixture_name, config):
    """ansible-test runs each test in a process of its own, which ends nothing of a module."""
    return "function" if config.pluginmanager.hasplugin("ansible_forked") else "module"


@pytest.fixture(scope=_scope)
def common(tmp_path_factory, openssl_ca):
    """The proxy of all tests that change neither it nor whether its upstream runs; its process."""
    with serving() as start:
        with pytest.MonkeyPatch.context() as monkeypatch:
            found = Setup(tmp_path_factory.mktemp("common"), start, openssl_ca, monkeypatch)
        process = found.start_proxy()
        yield found, process.pid
        process.terminate()
        process.communicate(timeout=120)


@pytest.fixture
def replica(setup, common):
    """A replica with the proxy that these tests share."""
    other, pid = common
    setup.units[pid] = UNITS[0]
    setup.ports, setup.routes, setup.upstream = other.ports, other.routes, other.upstream
    setup.upstream.reply = (404, b"nothing at /")
    setup.rules([{"service": f"http://127.0.0.1:{setup.ports[0]}"}])
    return setup


def test_a_connector_that_serves_somebody_else(replica):
    """All connections are up, and the routes answer: only the rules in force tell."""
    replica.rules([{"service": "http://127.0.0.1:9999"}])
    listen = replica.ports[0]
    detail = f"requests go to http://127.0.0.1:9999, not to http://127.0.0.1:{listen}"
    assert replica.failed() == [("ingress", detail)]


@pytest.mark.parametrize("unit", UNITS)
def test_a_service_that_runs_but_does_not_start_at_boot(replica, unit):
    replica.enabled[unit] = False
    (found,) = [item for item in replica.examine() if not item.ok]
    assert (found.layer, found.object) == ("service", unit)
    assert "disabled" in found.detail
    assert "site playbook" in found.remedy


def mask_the_units(monkeypatch):
    blocks = "\n".join(
        f"Id={unit}\nActiveState=inactive\nSubState=dead\nUnitFileState=masked\nLoadState=masked\n"
        for unit in UNITS
    )
    monkeypatch.undo()
    monkeypatch.setattr(systemd, "systemctl", lambda *arguments: blocks)


def test_a_masked_unit_is_not_told_to_be_missing(setup, monkeypatch):
    """The site playbook cannot enable it: systemctl refuses."""
    mask_the_units(monkeypatch)
    services = [item for item in setup.examine() if item.layer == "service"]
    assert [(item.object, item.ok, item.detail) for item in services] == [
        (unit, False, "masked") for unit in UNITS
    ]
    assert services[0].remedy.startswith(f"Run systemctl unmask {UNITS[0]}")


def test_a_host_that_was_taken_out_as_broken_into_is_not_brought_back(setup, monkeypatch, tmp_path):
    mask_the_units(monkeypatch)
    monkeypatch.setattr(health.containment, "PATH", str(tmp_path / "rules.nft"))
    (tmp_path / "rules.nft").touch()
    services = [item for item in setup.examine() if item.layer == "service"]
    assert {(item.ok, item.detail) for item in services} == {
        (False, "masked: the host was taken out as broken into")
    }
    assert all("unmask" not in item.remedy for item in services)
    assert all("breach.md" in item.remedy for item in services)


def test_a_service_in_a_restart_loop_shows_it(setup, monkeypatch):
    """The service dies and comes back: it runs at each look."""
    started = int((time.monotonic() - 5) * 1e6)
    blocks = "\n".join(
        f"Id={unit}\nActiveState=active\nSubState=running\nUnitFileState=enabled\n"
        f"LoadState=loaded\nNRestarts={restarts}\nExecMainStartTimestampMonotonic={started}\n"
        for unit, restarts in zip(UNITS, (37, 0))
    )
    monkeypatch.undo()
    monkeypatch.setattr(systemd, "systemctl", lambda *arguments: blocks)
    looping, other = (item for item in setup.examine() if item.layer == "service")
    assert re.fullmatch(
        r"active \(running\), restarted 37 times by systemd, started [0-9]+ s ago", looping.detail
    )
    assert other.detail == "active (running)"


def test_every_layer_is_looked_at_in_order(replica):
    findings = replica.examine()
    assert [(item.layer, item.ok) for item in findings] == [
        ("service", True),
        ("service", True),
        ("proxy", True),
        ("edge", True),
        ("ingress", True),
        ("inner TLS", True),
        ("route", True),
    ]
    assert findings[-1].detail == "answered HTTP 404"


def test_an_upstreams_own_502_proves_the_way_to_it(replica):
    """Also one whose text is like the proxy's: the proxy names its own errors in Proxy-Status."""
    for content in (b"<html>Bad gateway</html>", b"Upstream refused the connection\n"):
        replica.upstream.reply = (502, content)
        assert replica.failed() == []


def test_an_upstream_that_is_down(own_replica):
    own_replica.upstream.shutdown()
    own_replica.upstream.server_close()
    assert own_replica.failed() == [("route", "Upstream refused the connection")]
    (found,) = (item for item in own_replica.examine() if not item.ok)
    assert found.remedy.startswith(f"Start the server at {own_replica.routes['echo']}. If it ")


def test_an_upstream_that_may_be_down(own_replica):
    """It is reported, and nobody waits for it. A proxy that is down is another matter."""
    own_replica.upstream.shutdown()
    own_replica.upstream.server_close()
    own_replica.required = []
    findings = own_replica.examine(timeout=3600)
    assert [(item.layer, item.state) for item in findings if not item.ok] == [("route", "down")]
    assert health.result(findings)["healthy"]
    assert " down " in health.table(findings)[-1]
    own_replica.units.clear()
    assert not health.result(own_replica.examine())["healthy"]


def test_a_route_that_the_proxy_does_not_know(replica):
    replica.routes = {"other": "http://127.0.0.1:1"}
    assert replica.failed() == [("route", "No route configured for host")]
    (found,) = (item for item in replica.examine() if not item.ok)
    assert found.remedy == "Run the site playbook: the proxy runs with other routes"


def test_every_error_of_the_proxy_has_a_remedy():
    """Less those that this check cannot bring about: they concern a request's head or content."""
    text = (SOURCE.parents[1] / "docs/proxy.md").read_text()
    rows = text[text.index("| answer | `error` in `Proxy-Status` |") :].partition("\n\n")[0]
    documented = {name for row in rows.splitlines()[2:] for name in ERRORS.findall(row)}
    assert len(documented) > 15
    assert documented - set(routes._REMEDIES) == {
        "connection_limit_reached",
        "connection_write_timeout",
        "http_request_error",
        "http_upgrade_failed",
        "proxy_internal_response",
    }
    assert set(routes._REMEDIES) <= documented


def test_a_certificate_of_another_ca(replica, tmp_path):
    replica.ca_certificate, _key = openssl.make_ca(tmp_path / "other")
    ((layer, detail),) = replica.failed()
    assert layer == "inner TLS"
    assert detail.startswith("the proxy's certificate:")


@pytest.mark.parametrize(
    ("reply", "detail"),
    [
        ((503, b'{"status":503,"readyConnections":0}'), "0 of 4 connections"),
        ((200, b'{"status":200,"readyConnections":3}'), "3 of 4 connections"),
        ((500, b"oops"), "oops"),
    ],
)
def test_an_edge_without_all_connections(replica, reply, detail):
    replica.edge.reply = reply
    assert replica.failed() == [("edge", detail)]


def test_what_comes_late_is_waited_for(replica, monkeypatch):
    """The edge connects during the first pause: without a second look it would be reported."""
    replica.edge.reply = (503, b'{"readyConnections":1}')
    pauses = []

    def connect(seconds):
        # The search for the answering process pauses, too.
        if seconds == health._PAUSE_SECONDS:
            pauses.append(seconds)
            replica.edge.reply = (200, b'{"readyConnections":4}')

    # The parts that it asks have pauses of their own.
    clock = types.SimpleNamespace(monotonic=time.monotonic, sleep=connect)
    monkeypatch.setattr(health, "time", clock)
    assert all(item.ok for item in replica.examine(timeout=60))
    assert len(pauses) == 1
    assert pauses[0] > 0


@pytest.mark.parametrize("state", ["inactive", "failed"])
@pytest.mark.parametrize("unit", UNITS)
def test_nothing_waits_for_a_service_that_is_down(replica, monkeypatch, unit, state):
    """The check waits neither for the service nor for its answers."""
    replica.active[unit] = state
    if unit == UNITS[1]:
        replica.edge.shutdown()
        replica.edge.server_close()
    else:
        replica.ports = free_ports(2)
        replica.rules([{"service": f"http://127.0.0.1:{replica.ports[0]}"}])

    def pause(seconds):
        # The search for the answering process pauses, too.
        assert seconds != health._PAUSE_SECONDS, "it has waited"

    clock = types.SimpleNamespace(monotonic=time.monotonic, sleep=pause)
    monkeypatch.setattr(health, "time", clock)
    failed = [item.object for item in replica.examine(timeout=60) if not item.ok]
    assert failed[0] == unit
    assert len(failed) > 1


def test_a_proxy_that_is_not_there_is_told_by_every_layer_it_breaks(setup):
    setup.active[UNITS[0]] = "failed"
    layers = [layer for layer, _detail in setup.failed()]
    assert layers == ["service", "proxy", "proxy"]


@pytest.mark.parametrize(
    ("state", "service", "edge"),
    [
        ("inactive", "Run systemctl start", "Start"),
        ("activating", "Look at journalctl", "Let this host reach the tunnel edge"),
        ("failed", "Look at journalctl", "Let this host reach the tunnel edge"),
    ],
)
def test_a_stopped_connector_is_no_question_of_the_network(replica, state, service, edge):
    """One that fails again and again may do so because it cannot reach the edge."""
    replica.active[UNITS[1]] = state
    replica.edge.shutdown()
    replica.edge.server_close()
    failed = [item for item in replica.examine() if not item.ok]
    assert [item.layer for item in failed] == ["service", "edge"]
    assert failed[0].remedy.startswith(service)
    assert failed[1].remedy.startswith(edge)
    assert failed[1].detail == "Connection refused"


def test_something_else_on_the_proxys_port(setup, serve):
    other = serve(200, b"hello")
    setup.units[os.getpid()] = UNITS[0]
    setup.ports = (other.server_address[1], other.server_address[1])
    # The same process cannot be both services: the edge is for the other tests.
    (_edge, (layer, detail)) = setup.failed()
    assert layer == "proxy"
    assert detail.startswith("no WebSocket on 127.0.0.1:")


@pytest.mark.parametrize("port", ["listen", "admin", "metrics"])
def test_a_stranger_is_not_believed_and_named(replica, serve, port):
    """Each answers just as the service would: only its identity counts."""
    answers = {"admin": b"ready", "metrics": b'{"readyConnections":4}', "listen": b""}
    other = serve(200, answers[port])
    listen, admin = replica.ports
    number = other.server_address[1]
    if port == "metrics":
        replica.edge = other
        replica.units[os.getpid()] = "cron.service"
    else:
        replica.ports = (number, admin) if port == "listen" else (listen, number)
        replica.rules([{"service": f"http://127.0.0.1:{replica.ports[0]}"}])
    ((layer, detail),) = replica.failed()
    variable = {"metrics": "cloudflared_metrics_port"}.get(port, f"proxy_{port}_port")
    assert layer == ("edge" if port == "metrics" else "proxy")
    assert detail.startswith(f"port {number} is held by ")
    assert f"(process {os.getpid()}, user " in detail
    assert detail.endswith(f", not by {UNITS[port == 'metrics']}")
    assert f"give {variable} another port" in health.failure(replica.examine())


def test_nothing_is_said_to_a_stranger(replica):
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        accepted = []
        accepting = threading.Thread(target=lambda: accepted.append(squatter.accept()[0]))
        accepting.start()
        replica.ports = (replica.ports[0], squatter.getsockname()[1])
        ((layer, _detail),) = replica.failed()
        accepting.join()
        with accepted[0] as connection:
            assert (layer, connection.recv(100)) == ("proxy", b"")


def test_a_port_on_which_nobody_accepts(replica, monkeypatch):
    monkeypatch.setattr(loopback, "_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        replica.ports = (replica.ports[0], silent.getsockname()[1])
        # On a busy machine, that time is too short for the others, too.
        detail = next(detail for layer, detail in replica.failed() if layer == "proxy")
    assert detail.startswith("accepted by nobody; listening is ")
    assert f"process {os.getpid()}" in detail


def test_an_answer_that_never_ends(monkeypatch):
    """Each piece is in time."""
    monkeypatch.setattr(loopback, "_WHOLE_SECONDS", 0.5)
    monkeypatch.setattr(loopback, "must_be", lambda _unit: lambda _connection: None)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip():
            connection = listener.accept()[0]
            with connection, contextlib.suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                while True:
                    connection.sendall(b"x")
                    time.sleep(0.01)

        thread = threading.Thread(target=drip)
        thread.start()
        found = loopback.get(listener.getsockname()[1], "/", "x.service")
        thread.join()
    assert found == (0, "the answer has not ended within 0.5 seconds")


def test_a_service_that_runs_other_code(replica, monkeypatch, tmp_path):
    told = {UNITS[0]: "its main process 7 runs release 1, not 2"}
    monkeypatch.setattr(running_code, "problem", lambda unit, release: told.get(unit, ""))
    assert replica.failed() == []
    replica.releases = dict.fromkeys(UNITS, tmp_path)
    assert replica.failed() == [("service", told[UNITS[0]])]


def test_files_with_other_labels_than_the_policy_wants(replica, selinux, tmp_path, monkeypatch):
    """SELinux then takes the service for a part of systemd."""
    monkeypatch.setattr(running_code, "problem", lambda *_: "")
    replica.releases = {UNITS[0]: tmp_path / "proxy/1", UNITS[1]: tmp_path / "cloudflared/2"}
    for release in replica.releases.values():
        (release / "bin").mkdir(parents=True)
    selinux.mislabel(f"{tmp_path}/proxy/1/bin/tool")
    selinux.mislabel(f"{tmp_path}/proxy/1/bin/other")
    found = [item for item in replica.examine() if "SELinux" in item.detail]
    assert [(item.layer, item.object, item.ok) for item in found] == [
        ("service", f"{tmp_path}/proxy/1", False)
    ]
    assert "2 files" in found[0].detail
    assert "bin/tool" in found[0].detail
    assert "site playbook" in found[0].remedy
    assert f"systemctl restart {UNITS[0]}" in found[0].remedy


def test_labels_that_cannot_be_asked_for_are_one_row(setup, monkeypatch, tmp_path):
    """The check goes on with the other release, and with everything after it."""

    def wrong(release):
        if release.name == "1":
            raise TunnelError(str(release), "SELinux: restorecon failed: no policy", "Run it")
        return [f"{release}/bin/tool"]

    monkeypatch.setattr(running_code, "problem", lambda *_: "")
    monkeypatch.setattr(selinux_labels, "wrong", wrong)
    setup.releases = {UNITS[0]: tmp_path / "proxy/1", UNITS[1]: tmp_path / "cloudflared/2"}
    findings = setup.examine()
    assert [(item.object, item.detail) for item in findings if "SELinux" in item.detail] == [
        (f"{tmp_path}/proxy/1", "SELinux: restorecon failed: no policy"),
        (
            f"{tmp_path}/cloudflared/2",
            "SELinux: 1 files have other labels than the policy's, "
            f"{tmp_path}/cloudflared/2/bin/tool first",
        ),
    ]
    assert findings[-1].layer == "proxy"


def test_the_error_names_layer_remedy_and_journal(replica):
    replica.edge.reply = (503, b'{"readyConnections":0}')
    text = health.failure(replica.examine())
    assert text.startswith("edge: http://127.0.0.1:")
    assert "port 7844" in text
    assert f"line of {UNITS[1]}" in text


def test_the_table_has_a_line_for_each_finding(replica):
    lines = health.table(replica.examine())
    assert lines[0].split() == ["layer", "object", "state", "detail"]
    assert len(lines) == 8


def test_a_drop_in_that_takes_the_token_is_no_question_of_the_edge(replica, tmp_path):
    """The later one of two files decides."""
    setup = replica
    first, last = tmp_path / "10 ours.conf", tmp_path / "zzz-lxc-service.conf"
    first.write_text("[Service]\nLoadCredential=tunnel-token:/x\n")
    last.write_text("[Service]\nLoadCredential=\n")
    setup.shown = f'DropInPaths="{first}" {last}\nExecMainStatus=255\nSubState=auto-restart\n'
    setup.edge.reply = (503, b"{}")
    failed = [finding for finding in setup.examine(0) if not finding.ok]
    assert [(finding.layer, finding.object) for finding in failed] == [("service", UNITS[1])]
    assert f"{last} empties LoadCredential=" in failed[0].detail
    assert "nesting" in failed[0].remedy
    setup.shown = f'DropInPaths={last} "{first}"\nExecMainStatus=0\nSubState=running\n'
    assert "edge" in [finding.layer for finding in setup.examine(0)]


def test_credentials_that_cannot_be_had_are_no_question_of_the_edge(replica):
    setup = replica
    setup.shown = "DropInPaths=\nExecMainStatus=243\nSubState=auto-restart\n"
    setup.active[UNITS[1]] = "activating"
    findings = setup.examine(0)
    assert "edge" not in [finding.layer for finding in findings]
    assert any("243/CREDENTIALS" in finding.detail for finding in findings if not finding.ok)
    # The status with which it once ended does not matter while it runs.
    setup.shown = "DropInPaths=\nExecMainStatus=243\nSubState=running\n"
    assert "edge" in [finding.layer for finding in setup.examine(0)]


SINCE = "drained since 2026-11-29T04:50:00Z by root on controller: new memory"


def test_a_drained_replica_shows_it_and_nothing_of_the_edge(replica):
    replica.drained = SINCE
    replica.active[UNITS[1]] = "inactive"
    findings = replica.examine()
    rows = [(item.layer, item.object, item.state) for item in findings]
    assert rows[:2] == [("service", UNITS[0], "ok"), ("service", UNITS[1], "drained")]
    assert findings[1].detail == SINCE
    assert [layer for layer, _object, _state in rows[2:]] == ["proxy", "inner TLS", "route"]
    assert health.result(findings)["healthy"] is True
    assert f"drained  {SINCE}" in "\n".join(health.table(findings))


@pytest.mark.parametrize("active", ["active", "activating"])
def test_a_drained_replica_that_runs_is_none(replica, active):
    replica.drained = SINCE
    replica.active[UNITS[1]] = active
    (found,) = [item for item in replica.examine(0) if not item.ok]
    assert (found.object, found.required) == (UNITS[1], True)
    assert found.detail.startswith(f"{active} (")
    assert found.detail.endswith(f"), although {SINCE}")


@pytest.mark.parametrize("active", ["inactive", "failed"])
def test_an_undrain_that_was_interrupted_is_the_only_failure(replica, active):
    """cloudflared does not run, and all that it needs works."""
    replica.returning = SINCE
    replica.active[UNITS[1]] = active
    findings = replica.examine(0)
    (found,) = [item for item in findings if not item.ok]
    assert (found.object, found.state, found.purpose) == (UNITS[1], "FAILED", "drained")
    assert "undrain was interrupted" in found.detail
    assert "edge" not in [item.layer for item in findings]
    assert health.result(findings)["healthy"] is False
    replica.active[UNITS[1]] = "active"
    assert "edge" in [item.layer for item in replica.examine()]
    assert replica.failed() == []


def test_a_drained_replica_must_work_in_all_else(own_replica):
    own_replica.drained = SINCE
    own_replica.active[UNITS[1]] = "inactive"
    own_replica.upstream.shutdown()
    own_replica.upstream.server_close()
    assert own_replica.failed() == [("route", "Upstream refused the connection")]


def test_a_drained_replica_comes_back_after_its_drain(replica):
    replica.drained = SINCE
    replica.active[UNITS[1]] = "inactive"
    replica.enabled[UNITS[1]] = False
    assert replica.failed() == [("service", "disabled: does not start at boot")]


def test_a_replica_that_is_to_join_the_edge_waits_until_all_else_works(own_replica):
    own_replica.at_edge = False
    own_replica.active[UNITS[1]] = "inactive"
    own_replica.enabled[UNITS[1]] = False
    findings = own_replica.examine()
    rows = [(item.layer, item.object, item.state) for item in findings]
    assert rows[:2] == [("service", UNITS[0], "ok"), ("service", UNITS[1], "ok")]
    assert findings[1].detail == "joins the edge once all else works"
    assert [layer for layer, _object, _state in rows[2:]] == ["proxy", "inner TLS", "route"]
    own_replica.upstream.shutdown()
    own_replica.upstream.server_close()
    assert own_replica.failed() == [("route", "Upstream refused the connection")]


def test_a_route_in_maintenance_is_shown_and_no_failure(setup):
    """Its upstream is not looked at: it is away."""
    setup.upstream.shutdown()
    setup.upstream.server_close()
    setup.route_options = {"echo": {"maintenance": True}}
    with setup.proxy_at_work():
        row = setup.examine()[-1]
    assert (row.layer, row.state, row.ok) == ("route", "maintenance", True)
    assert row.detail == "the proxy answers HTTP 503, on purpose"


def test_an_upstreams_own_503_is_no_maintenance(replica):
    replica.upstream.reply = (503, b'details="maintenance"')
    assert replica.examine()[-1].state == "ok"


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ({}, "GET /"),
        ({"paths": ["/mcp", "/x"]}, "GET /mcp"),
        ({"methods": ["POST", "HEAD", "OPTIONS"]}, "HEAD /"),
        ({"paths": ["/mcp"], "methods": ["DELETE", "OPTIONS"]}, "OPTIONS /mcp"),
        ({"paths": ["/a"], "methods": ["DELETE", "POST"]}, "POST /a"),
    ],
)
def test_a_route_is_asked_for_what_it_lets_through(setup, options, asked):
    setup.route_options = {"echo": options}
    with setup.proxy_at_work():
        row = setup.examine()[-1]
    assert (row.layer, row.state) == ("route", "ok")
    assert row.detail.startswith("answered HTTP "), "by the upstream"
    assert setup.upstream.asked[-1] == asked


def test_a_route_that_lets_only_changes_through_is_not_asked(setup):
    """The proxy's own refusal proves that it knows the route."""
    setup.route_options = {"echo": {"methods": ["DELETE", "PUT"]}}
    with setup.proxy_at_work():
        row = setup.examine()[-1]
    assert (row.layer, row.state, row.ok) == ("route", "ok", True)
    told = "the proxy answers HTTP 405: methods lets nothing through that could be asked for"
    assert row.detail == told
    assert setup.upstream.asked == []


def test_a_route_that_is_asked_for_what_it_refuses(setup):
    setup.route_options = {"echo": {"paths": ["/mcp"]}}
    with setup.proxy_at_work():
        setup.route_options = {}
        row = setup.examine()[-1]
    assert (row.layer, row.state) == ("route", "FAILED")
    assert row.detail == "Path is not allowed on this route"
    assert "other route options" in row.remedy


def test_a_route_with_as_many_requests_as_it_may_have_works(setup):
    setup.route_options = {"echo": {"rate": "1/h"}}
    with setup.proxy_at_work():
        details = [setup.examine()[-1].detail for _ in range(2)]
        row = setup.examine()[-1]
    assert details[1] == "the proxy answers HTTP 429: rate is reached"
    assert (row.layer, row.state, row.ok) == ("route", "ok", True)
