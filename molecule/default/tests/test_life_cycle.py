"""Clients of a replica notice nothing when systemd reloads or restarts its proxy."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import journal
from replicas import DOMAIN, HOSTS, LAB, only, shell

UNIT = "mcp-proxy@default"
CONFIG = "/etc/mcp-tunnel/default/proxy.yaml"
CLIENTS = 4


class Clients:
    """Clients: some keep their connection, others open a new one for each request."""

    def __init__(self) -> None:
        self.answered = 0
        self.failed: list[str] = []
        self.going = True
        ca = shell(HOSTS[0]).check_output("cat /var/lib/mcp-tunnel/default/ca.crt")
        self._tls = ssl.create_default_context(cadata=str(ca))
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._ask, args=(number % 2 == 0,), daemon=True)
            for number in range(CLIENTS)
        ]

    def _connect(self) -> http.client.HTTPConnection:
        address, _, port = LAB["edge_front"].rpartition(":")
        name = f"echo.{DOMAIN}"
        raw = socket.create_connection((address, int(port)), timeout=240)
        connection = http.client.HTTPConnection(name)
        connection.sock = self._tls.wrap_socket(raw, server_hostname=name)
        return connection

    def _ask(self, keep: bool) -> None:
        connection: http.client.HTTPConnection | None = None
        while self.going:
            reused = connection is not None
            try:
                connection = connection or self._connect()
                connection.request("GET", "/")
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException) as error:
                connection = None
                # Closed while idle: the request is sent again, as clients do (RFC 9112 §9.3.1).
                if not reused:
                    self.failed.append(repr(error))
                continue
            if not keep or answer.will_close:
                connection.close()
                connection = None
            with self._changed:
                # 404 is the upstream's own: an MCP server has nothing at /.
                if answer.status == 404:
                    self.answered += 1
                else:
                    self.failed.append(f"status {answer.status}")
                self._changed.notify_all()

    def more(self, requests: int) -> None:
        """Wait until this many more requests have been answered."""
        with self._changed:
            target = self.answered + requests
            assert self._changed.wait_for(lambda: self.answered >= target, 240), self.failed

    @contextmanager
    def at_work(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        self.more(20)
        yield
        self.more(20)
        self.going = False
        for thread in self._threads:
            thread.join(240)
        assert self.failed == []


def pids(name: str) -> tuple[str, list[str]]:
    """The supervisor, and all processes of the service."""
    host = shell(name)
    main = host.check_output(f"systemctl show --property=MainPID --value {UNIT}").strip()
    return main, sorted(host.check_output("pgrep --uid mcp-proxy").split())


def test_a_restart_lets_clients_wait() -> None:
    name = HOSTS[0]
    with only(name):
        before, _ = pids(name)
        clients = Clients()
        with clients.at_work():
            for _ in range(2):
                shell(name).check_output(f"systemctl restart {UNIT}")
                clients.more(20)
        assert pids(name)[0] != before


def test_a_reload_changes_settings_and_no_process() -> None:
    name = HOSTS[0]
    host = shell(name)
    before = pids(name)
    host.check_output(f"sed -i.kept s/^log_level:.*/log_level:\\ warn/ {CONFIG}")
    with only(name):
        clients = Clients()
        with clients.at_work():
            host.check_output(f"systemctl reload {UNIT}")
            clients.more(20)
            last = journal.read(host, f"--unit={UNIT}", "--lines=1")
            clients.more(20)
            # Requests are not logged any more.
            assert journal.read(host, f"--unit={UNIT}", "--lines=1") == last
    host.check_output(f"mv {CONFIG}.kept {CONFIG}")
    host.check_output(f"systemctl reload {UNIT}")
    assert pids(name) == before


def test_a_refused_reload_fails_and_says_why() -> None:
    host = shell(HOSTS[0])
    before = pids(HOSTS[0])
    host.check_output(f"cp -p {CONFIG} {CONFIG}.kept && echo 'zzz: 1' >> {CONFIG}")
    try:
        assert host.run(f"systemctl reload {UNIT}").rc != 0
        said = journal.read(host, f"--unit={UNIT}", "--lines=20")
        assert "zzz: unknown field" in said
        assert host.service(UNIT).is_running
    finally:
        host.check_output(f"mv {CONFIG}.kept {CONFIG}")
    host.check_output(f"systemctl reload {UNIT}")
    assert pids(HOSTS[0]) == before
