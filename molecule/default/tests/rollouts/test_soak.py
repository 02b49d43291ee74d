"""A release that passes the gate is watched beside the other replica before it counts as good.

The controller ships the proxy's source, so a release with a fault comes from a copy of the
collection. The tests go on from each other: a bad release is killed in the middle of its soak and
put back by the next run, then the usual one takes the place of an older one, and stays.
"""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from replicas import CHECKOUT, DOMAIN, HOSTS, LAB, command_line, recap, shell, state_host, unquoted

CANARY, OTHER = HOSTS
SOURCE = "proxy_src/src/mcp_proxy/upstream/exchange.py"
TO_UPSTREAM = "        connection = self._forwarder.pool.take(route.upstream)\n"
EVERY_TWENTIETH = """\
        Exchange.asked = getattr(Exchange, "asked", 0) + 1
        if Exchange.asked % 20 == 0:
            self._answer(500, "Every twentieth", "proxy_internal_error")
            return
"""
COLLECTION = "ansible_collections/mcp_tunnels/stack"
FOLDERS = ("meta", "playbooks", "plugins", "proxy_src", "roles")
SOAK = ("-e", "mcp_tunnel_soak=30")
WAITS = "TASK [Let it serve"
#: Seconds between two requests of a client: beside a playbook, which needs the processors, and in
#: a soak, which several hundred requests judge.
PAUSE, PAUSE_IN_SOAK = 0.5, 0.02
LONGEST = 1200  # seconds for a run
#: Where a host notes the release that is applied, and the one that was proven.
RECORDS = " ".join(
    f"/var/lib/mcp-tunnel-replica/default/{name}.json" for name in ("applied", "good")
)
#: Another name of a release on a host.
OLDER = "older"


class Clients:
    """Clients that ask one route all the time, on a new connection for each few requests."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.failed: list[str] = []
        self.pause = PAUSE
        self._going = True
        ca = state_host().check_output("cat /var/lib/mcp-tunnel/default/ca.crt")
        self._tls = ssl.create_default_context(cadata=str(ca))

    @contextmanager
    def at_work(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._going = False
            for thread in threads:
                thread.join(240)

    def _ask(self) -> None:
        name = f"echo.{DOMAIN}"
        address, _, port = LAB["edge_front"].rpartition(":")
        while self._going:
            connection, reused = http.client.HTTPConnection(name), False
            try:
                raw = socket.create_connection((address, int(port)), timeout=240)
                connection.sock = self._tls.wrap_socket(raw, server_hostname=name)
                for _ in range(10):
                    connection.request("GET", "/")
                    answer = connection.getresponse()
                    answer.read()
                    self.statuses[answer.status] += 1
                    reused = True
                    if answer.will_close:
                        break
                    time.sleep(self.pause)
            except (OSError, http.client.HTTPException) as error:
                # Closed while idle: the request is sent again, as clients do (RFC 9112 §9.3.1).
                if not reused:
                    self.failed.append(repr(error))
            finally:
                connection.close()


def started(*arguments: str, collections: Path | None = None) -> subprocess.Popen[str]:
    """Start the playbook, of another copy of the collection if one is given, in its own session."""
    (*words, path), environment = command_line("site")
    if collections is not None:
        path = str(collections / COLLECTION / Path(path).relative_to(CHECKOUT))
        environment["ANSIBLE_COLLECTIONS_PATH"] = str(collections)
    return subprocess.Popen(
        [*words, path, *arguments],
        cwd=CHECKOUT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def watched(process: subprocess.Popen[str], clients: Clients) -> str:
    """Return the output of a run that has ended. In its soak, the clients ask more often."""
    assert process.stdout is not None
    overdue = threading.Timer(LONGEST, kill, [process])
    overdue.start()
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("TASK ["):
            clients.pause = PAUSE_IN_SOAK if line.startswith(WAITS) else PAUSE
    process.wait()
    overdue.cancel()
    return "".join(lines)


def kill(process: subprocess.Popen[str]) -> None:
    """End a run at once, with its workers."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(60)


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the collection whose proxy answers every twentieth request with 500."""
    directory = tmp_path_factory.mktemp("bad")
    collection = directory / COLLECTION
    left_out = shutil.ignore_patterns("__pycache__", ".venv", ".build", "*.egg-info")
    for folder in FOLDERS:
        shutil.copytree(CHECKOUT / folder, collection / folder, ignore=left_out)
    shutil.copy(CHECKOUT / "galaxy.yml", collection)
    path = collection / SOURCE
    before = path.read_text()
    path.write_text(before.replace(TO_UPSTREAM, EVERY_TWENTIETH + TO_UPSTREAM))
    assert path.read_text() != before
    return directory


def release(name: str) -> str:
    """The release that the proxy of a host runs."""
    return str(shell(name).check_output("readlink /opt/mcp-tunnel/proxy/current"))


@pytest.fixture(scope="module")
def usual() -> dict[str, str]:
    """The releases before the test."""
    return {name: release(name) for name in HOSTS}


@pytest.mark.exhaustive
def test_a_run_that_is_killed_in_the_soak_leaves_an_unproven_canary(
    bad: Path, usual: dict[str, str]
) -> None:
    process = started("-e", "mcp_tunnel_soak=10m", collections=bad)
    assert process.stdout is not None
    seen = []
    try:
        for line in process.stdout:
            seen.append(line)
            if line.startswith(WAITS):
                break
    finally:
        kill(process)
    assert seen[-1].startswith(WAITS), "".join(seen[-80:])
    assert release(CANARY) != usual[CANARY]
    assert release(OTHER) == usual[OTHER]


def test_every_twentieth_request_is_noticed_and_put_back(bad: Path, usual: dict[str, str]) -> None:
    clients = Clients()
    with clients.at_work():
        process = started(*SOAK, collections=bad)
        output = watched(process, clients)
    assert process.returncode != 0, output[-4000:]
    told = unquoted(output)
    assert f"{CANARY} passed the gate, and does not do as well as it should" in told, output[-4000:]
    assert "requests answered with 5xx: " in told
    assert f"(0.0%) at {OTHER}" in told
    assert "The replica was put back to its last good release and configuration." in told
    assert {name: release(name) for name in HOSTS} == usual
    # The other replica was not touched, and all else was answered.
    assert set(clients.statuses) == {404, 500}
    assert clients.failed == []


def test_a_healthy_release_stays(usual: dict[str, str]) -> None:
    """It is the usual one. An older one runs before: the same files below another name."""
    for name in HOSTS:
        shell(name).check_output(
            f"cd /opt/mcp-tunnel/proxy && cp --archive {usual[name]} {OLDER}"
            f" && ln --symbolic --force --no-dereference {OLDER} current"
            f" && sed --in-place s/{usual[name]}/{OLDER}/ {RECORDS}"
            " && systemctl restart mcp-proxy@default"
        )
    clients = Clients()
    with clients.at_work():
        process = started(*SOAK)
        output = watched(process, clients)
    assert process.returncode == 0, output[-4000:]
    assert all(counters["changed"] > 0 for counters in recap(output).values()), output[-4000:]
    assert f"{CANARY}, the canary, does as well: " in unquoted(output)
    assert {name: release(name) for name in HOSTS} == usual
    assert set(clients.statuses) == {404}
    assert clients.failed == []
