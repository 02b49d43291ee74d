"""An edge, an origin and connectors on this machine's loopback: the tunnel without a lab.

The connector is the stand-in, or the real one with CLOUDFLARED_BINARY=/path. The real one asks
name servers, so give the tests a network namespace of their own in that case:

    unshare -n sh -c 'ip link set lo up; CLOUDFLARED_BINARY=/path pytest lab/tests/edge'

The same for tests/contract/test_connector.py, which holds the two together.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve

from lab.connector.bundle import build
from lab.edge.control import ask
from lab.edge.directory import EdgeDirectory
from lab.tunnels_api.directory import ApiDirectory

#: Seconds, at most, for whatever a test waits for: the machine may be busy.
PATIENCE = 120.0
_POLL = 0.05
#: A socket for each port that was handed out: see free_port.
_claims: list[socket.socket] = []


def wait_for(what: Callable[[], bool]) -> None:
    """Return once `what` is true; fail after `PATIENCE`."""
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline, f"not within {PATIENCE} s"
        time.sleep(_POLL)


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens at.

    It is none of those that the kernel hands out (ip_local_port_range): between this look and its
    use, no connection of another program gets it. Nor does another test, in this process or beside
    it: the name of a socket, which the kernel knows as long as this process lives, claims it.
    """
    while True:
        port = random.randrange(20000, 30000)
        claim = socket.socket(socket.AF_UNIX)
        with contextlib.suppress(OSError):
            claim.bind(f"\0mcp-tunnel-tests {host}:{port}")
            with socket.create_server((host, port)):
                _claims.append(claim)
                return port
        claim.close()


class Edge:
    """An edge process. Four loopback addresses give a connector its four connections."""

    def __init__(self, path: Path) -> None:
        self.api = ApiDirectory(path / "api")
        self.api.path.mkdir()
        self.api.fill(manual_tunnel=True)
        self.directory = EdgeDirectory(path, self.api.store)
        self.tunnel = self.directory.fill()
        self.addresses = [f"127.0.0.{n}:{free_port(f'127.0.0.{n}')}" for n in range(1, 5)]
        front = socket.create_server(("127.0.0.1", 0))
        self.front: tuple[str, int] = front.getsockname()
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "lab.edge", "--directory", str(path)),
                *("--api", str(self.api.path)),
                *(f"--listen={address}" for address in self.addresses),
                *("--front-fd", str(front.fileno())),
            ],
            pass_fds=[front.fileno()],
        )
        front.close()
        wait_for(self.directory.control.exists)

    def ask(self, verb: str, *arguments: str) -> dict[str, Any]:
        return ask(self.directory.control, verb, *arguments)

    @property
    def connections(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("status")["connections"]
        return found

    def client(self) -> socket.socket:
        return socket.create_connection(self.front, timeout=PATIENCE)


class Connector:
    """A connector process with its log."""

    def __init__(
        self,
        binary: Path,
        edge: Edge,
        log: Path,
        arguments: list[str],
        home: Path,
        resolver: Path | None,
    ) -> None:
        self.metrics = f"127.0.0.1:{free_port()}"
        self._log = log
        before, after = split(arguments)
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                [
                    *(_with_resolver(resolver) if resolver else ()),
                    *(str(binary), "tunnel", "--no-autoupdate", "--no-prechecks"),
                    *("--metrics", self.metrics, "--protocol", "http2", "--retries", "0"),
                    *(word for address in edge.addresses for word in ("--edge", address)),
                    *before,
                    "run",
                    *after,
                ],
                stderr=file,
                env={"TUNNEL_CACERT": str(edge.directory.ca), "HOME": str(home)},
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def ready(self) -> dict[str, Any]:
        return dict(json.loads(self.get("/ready")[1]))

    def has(self, count: int) -> bool:
        """Whether it has `count` ready connections."""
        try:
            return bool(self.ready()["readyConnections"] == count)
        except OSError:
            return False

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{self.metrics}{path}", timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


class Tunnel:
    """Starts the processes that a test needs and ends them all."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._number = itertools.count()
        self._processes: list[subprocess.Popen[bytes]] = []
        given = os.environ.get("CLOUDFLARED_BINARY")
        self.binary = Path(given) if given else path / "cloudflared"
        if not given:
            build(self.binary)
        (path / "edge").mkdir()
        self.edge = Edge(path / "edge")
        self._processes.append(self.edge.process)
        self.origin: Server | None = None

    def start_origin(self, handler: Callable[[ServerConnection], None] | None = None) -> str:
        """Start a WebSocket server (by default one that echoes) and return its URL."""
        self.origin = serve(handler or echo, "127.0.0.1", 0, max_size=None, compression=None)
        threading.Thread(target=self.origin.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.origin.socket.getsockname()[1]}"

    def token_copy(self) -> Path:
        """The token as it is now: a later rotation does not change this file."""
        path = self._path / f"token-{next(self._number)}"
        path.write_bytes(self.edge.directory.token.read_bytes())
        return path

    def connect(
        self,
        *arguments: str,
        token: Path | None = None,
        home: Path | None = None,
        resolver: Path | None = None,
    ) -> Connector:
        """Start a connector; arguments after "run" belong behind it.

        `resolver` stands in for its /etc/resolv.conf.
        """
        log = self._path / f"connector-{next(self._number)}.log"
        before, after = split(list(arguments))
        after = ["--token-file", str(token or self.token_copy()), *after]
        connector = Connector(
            self.binary,
            self.edge,
            log,
            [*before, "run", *after],
            home or self._path,
            resolver,
        )
        self._processes.append(connector.process)
        return connector

    def connected(self, *arguments: str) -> Connector:
        """Start a connector and wait for its four connections."""
        connector = self.connect(*arguments)
        wait_for(lambda: connector.has(4))
        wait_for(lambda: len(self.edge.connections) >= 4)
        return connector

    def end_connectors(self) -> None:
        """Kill all connectors; the edge stays."""
        while self._processes[-1] is not self.edge.process:
            process = self._processes.pop()
            process.kill()
            process.wait()

    def end(self) -> None:
        if self.origin is not None:
            self.origin.shutdown()
        for process in reversed(self._processes):
            process.kill()
            process.wait()


def _with_resolver(file: Path) -> list[str]:
    """Return the prefix with which a command asks the name servers in `file`."""
    script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, str(file)]


def split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return the arguments before "run" and those behind it."""
    if "run" not in arguments:
        return arguments, []
    place = arguments.index("run")
    return arguments[:place], arguments[place + 1 :]


def echo(connection: ServerConnection) -> None:
    """Send every message back."""
    try:
        for message in connection:
            connection.send(message)
    except ConnectionClosed:
        pass


def receive(client: socket.socket, count: int) -> bytes:
    """Read exactly `count` bytes, or fewer if the peer ends first."""
    parts = []
    while count and (data := client.recv(min(count, 1 << 20))):
        parts.append(data)
        count -= len(data)
    return b"".join(parts)
