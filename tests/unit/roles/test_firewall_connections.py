"""Root's timer's notes about each cloudflared, against servers that answer as it does."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import pwd
import re
import socket
import threading
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[3] / "roles/firewall/files/mcp-tunnel-connections.py"
SETTINGS = PROGRAM.parents[2] / "cloudflared/templates/cloudflared.env.j2"


def ready(number, status=200):
    """Return an answer like cloudflared's (measured with 2026.8.2)."""
    body = json.dumps({"status": status, "readyConnections": number, "connectorId": "0e4736"})
    head = f"HTTP/1.0 {status} X\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
    return (head + body).encode()


class Host:
    """Settings and notes below a directory, and the program that reads those and writes these."""

    def __init__(self, directory, monkeypatch):
        self._directory = directory
        spec = importlib.util.spec_from_file_location("connections", PROGRAM)
        self.program = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.program)
        monkeypatch.setattr(self.program, "SETTINGS", str(directory / "etc/*/cloudflared.env"))
        monkeypatch.setattr(self.program, "NOTES", str(directory / "connections-{}.json"))
        self.budget = self.program.BUDGET
        # Servers in this process may have to wait for a processor.
        monkeypatch.setattr(self.program, "PATIENCE", 60.0)
        monkeypatch.setattr(self.program, "BUDGET", 120.0)
        monkeypatch.setattr(self.program, "USER", pwd.getpwuid(os.getuid()).pw_name)

    def configure(self, instance, text):
        """Deploy an instance with this cloudflared.env."""
        path = self._directory / "etc" / instance / "cloudflared.env"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def run(self):
        """Return the exit status and the notes, without what goes to ``drained``."""
        status = self.program.main()
        paths = self._directory.glob("connections-*")
        notes = {path.name[12:-5]: json.loads(path.read_text()) for path in paths}
        self.drained = {instance: note.pop("drained") for instance, note in notes.items()}
        return status, notes


@pytest.fixture
def host(tmp_path, monkeypatch):
    return Host(tmp_path, monkeypatch)


@contextlib.contextmanager
def answering(answer, hold=False, meet=None):
    """Listen on loopback; each connection gets *answer*, and is then closed unless *hold*.

    With *meet*, a barrier, each answer waits until all others have been asked.
    """
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            with contextlib.suppress(OSError, threading.BrokenBarrierError):
                while True:
                    client, _peer = server.accept()
                    asked.append(client.recv(4096))
                    if meet:
                        meet.wait(60)
                    client.sendall(answer)
                    if not hold:
                        client.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1], asked
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def env(port):
    """Return the file that the role cloudflared deploys, with this port."""
    name = "__mcp_tunnel_settings.variables.cloudflared_metrics_port"
    return SETTINGS.read_text().replace(f"{{{{ {name} }}}}", str(port))


@pytest.mark.parametrize(
    ("answer", "number"), [(ready(4), 4), (ready(1), 1), (ready(0, 503), 0), (b"", 0)]
)
def test_what_ready_says_is_noted(host, answer, number):
    with answering(answer) as (port, asked):
        host.configure("default", env(port))
        assert host.run() == (0, {"default": {"readyConnections": number}})
    assert asked[0].startswith(b"GET /ready HTTP/1.")


def test_where_nothing_listens_nothing_is_connected(host):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    host.configure("default", env(port))
    assert host.run() == (0, {"default": {"readyConnections": 0}})


@pytest.mark.parametrize("answer", [b"", ready(4)])
def test_one_that_never_ends_its_answer_is_not_waited_for(host, answer, monkeypatch):
    monkeypatch.setattr(host.program, "PATIENCE", 0.3)
    with answering(answer, hold=True) as (port, _asked):
        host.configure("default", env(port))
        assert host.run() == (0, {"default": {"readyConnections": 0}})


def test_no_cloudflared_waits_for_another(host):
    """Each of these answers only when all have been asked: one after the other, none ever would."""
    names = [f"instance{number}" for number in range(6)]
    together = threading.Barrier(len(names))
    with contextlib.ExitStack() as servers:
        for name in names:
            port, _asked = servers.enter_context(answering(ready(4), meet=together))
            host.configure(name, env(port))
        assert host.run() == (0, {name: {"readyConnections": 4} for name in names})


def test_the_unit_has_room_for_all_that_are_asked_at_a_time(host):
    """It has room for the main thread, too, and time for more than are asked at a time.

    A virtual machine that is emulated takes half a minute to start Python on a busy processor.
    """
    unit = PROGRAM.with_suffix(".service").read_text()
    limits = dict(re.findall(r"(?m)^(TasksMax|TimeoutStartSec)=([0-9]+)$", unit))
    assert int(limits["TasksMax"]) > host.program.AT_A_TIME
    assert int(limits["TimeoutStartSec"]) >= host.budget + 30


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.0 404 X\r\n\r\n404 page not found",
        b"HTTP/1.0 200 X\r\n\r\n[4]",
        b'HTTP/1.0 200 X\r\n\r\n{"readyConnections": "4"}',
        b'HTTP/1.0 200 X\r\n\r\n{"readyConnections": true}',
        ready(-1),
        ready(1000),
        b"SSH-2.0-x\r\n",
    ],
)
def test_something_else_on_the_port_is_told_and_is_no_connection(host, answer, capsys):
    with answering(answer) as (port, _asked):
        path = host.configure("default", env(port))
        assert host.run() == (1, {"default": {"readyConnections": 0}})
    told = capsys.readouterr().err
    assert str(path) in told
    assert "cloudflared_metrics_port" in told


def test_an_endless_answer_is_not_read_to_the_end(host, monkeypatch):
    monkeypatch.setattr(host.program, "LONGEST", 50)
    with answering(ready(4)) as (port, _asked):
        host.configure("default", env(port))
        assert host.run() == (0, {"default": {"readyConnections": 0}})


@pytest.mark.parametrize("text", ["", "MCP_METRICS=\n", "MCP_METRICS=a:1\nMCP_METRICS=b:2\n"])
def test_settings_without_a_port_are_told(host, text, capsys):
    host.configure("default", text)
    assert host.run() == (1, {"default": {"readyConnections": 0}})
    assert "connections: " in capsys.readouterr().err


def test_another_users_program_on_the_port_is_not_believed(host, monkeypatch, capsys):
    """Any user of the host can hold the port while cloudflared is down."""
    monkeypatch.setattr(host.program, "USER", "nobody")
    with answering(ready(4)) as (port, asked):
        host.configure("default", env(port))
        assert host.run() == (1, {"default": {"readyConnections": 0}})
    assert asked == []
    assert f"the user with ID {os.getuid()} listens on port {port}" in capsys.readouterr().err


def test_each_instance_has_its_own_and_one_that_goes_takes_it_along(host):
    with answering(ready(4)) as (port, _asked), answering(ready(2)) as (second, _asked):
        host.configure("default", env(port))
        lab = host.configure("lab", env(second))
        assert host.run()[1] == {
            "default": {"readyConnections": 4}, "lab": {"readyConnections": 2},
        }  # fmt: skip
        lab.unlink()
        assert host.run()[1] == {"default": {"readyConnections": 4}}


def test_the_mark_of_a_drained_replica_is_noted(host):
    for instance in ("default", "lab"):
        settings = host.configure(instance, env(1))
    (settings.parent / "drained").write_text("by hand")
    assert host.run() == (0, {"default": {"readyConnections": 0}, "lab": {"readyConnections": 0}})
    assert host.drained == {"default": False, "lab": True}
