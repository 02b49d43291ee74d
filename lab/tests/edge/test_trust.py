"""Several tunnels behind one front door, and inner TLS under registered CAs only."""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection

from lab.core.credentials import Issued, issue
from lab.edge.trust import _HOLDS
from lab.tests.loopback import PATIENCE, Connector, Tunnel, wait_for
from lab.tests.platforms import authority
from lab.tunnels_api.tunnels import Tunnels, make, owned

_ANSWER = b"over inner TLS"


class Made:
    """A second tunnel, made through the API, with a connector and a proxy that speaks TLS."""

    def __init__(self, tunnel: Tunnel, path: Path) -> None:
        self.tunnel = tunnel
        self.store = tunnel.edge.api.store
        with self.store.change() as state:
            record = make(state["workspaces"][0]["id"])
            state["tunnels"].append(record)
        self.id = record["id"]
        self.host = f"echo.{record['domain']}"
        self.issued = issue("tunnel CA", (f"*.{record['domain']}",))
        self.opened = 0
        self.first_opened: Callable[[], None] = lambda: None
        self._token = path / "made-token"
        self._token.write_text(owned(record).token)
        self._url = tunnel.start_origin(self._counted(_proxy(self.issued, path)))
        self.connector = self.connected()

    def connected(self) -> Connector:
        """Start a connector and wait for its four connections."""
        connector = self.tunnel.connect("run", "--url", self._url, token=self._token)
        wait_for(lambda: connector.has(4))
        return connector

    def register(self, pem: str) -> str:
        """Register a CA; return its id."""
        with self.store.change() as state:
            added = Tunnels(state, None).add_certificate(self.id, {"ca_certificate_pem": pem})
        return str(added["id"])

    def _counted(
        self, handle: Callable[[ServerConnection], None]
    ) -> Callable[[ServerConnection], None]:
        def counted(connection: ServerConnection) -> None:
            self.opened += 1
            if self.opened == 1:
                self.first_opened()
            handle(connection)

        return counted

    def archive(self, certificate: str) -> None:
        with self.store.change() as state:
            Tunnels(state, None).archive_certificate(self.id, certificate)

    def call(self, host: str = "") -> bytes:
        """Return the answer to a client that trusts the proxy's CA; b"" if it is cut off."""
        context = ssl.create_default_context(cadata=self.issued.ca)
        with self.tunnel.edge.client() as client, contextlib.suppress(OSError):
            with context.wrap_socket(client, server_hostname=host or self.host) as tls:
                tls.sendall(b"?")
                return tls.recv(100)
        return b""

    @property
    def last_failure(self) -> str:
        return str(self.tunnel.edge.ask("status")["last_failure"])


def _proxy(issued: Issued, path: Path) -> Callable[[ServerConnection], None]:
    """Answers over TLS inside WebSocket messages."""
    (path / "made.pem").write_text(issued.key + issued.certificate)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path / "made.pem")

    def handle(connection: ServerConnection) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=True)
        with contextlib.suppress(ConnectionClosed, ssl.SSLError):
            steps = iter((tls.do_handshake, lambda: tls.read(1), lambda: tls.write(_ANSWER)))
            step = next(steps)
            while True:
                try:
                    step()
                    step = next(steps)
                except ssl.SSLWantReadError:
                    if outgoing.pending:
                        connection.send(outgoing.read())
                    message = connection.recv()
                    assert isinstance(message, bytes)
                    incoming.write(message)
                except StopIteration:
                    connection.send(outgoing.read())
                    return

    return handle


@pytest.fixture
def made(tunnel: Tunnel, tmp_path: Path) -> Made:
    return Made(tunnel, tmp_path)


def test_registered_ca(made: Made) -> None:
    assert made.call() == b""
    assert "has no registered CA" in made.last_failure
    made.register(made.issued.ca)
    assert made.call() == _ANSWER
    assert made.call(made.host.replace("echo", "other")) == _ANSWER


def test_other_ca(made: Made) -> None:
    other = made.register(authority())
    assert made.call() == b""
    assert "is not under a registered CA" in made.last_failure
    # As during a rotation: both are good.
    ours = made.register(made.issued.ca)
    assert made.call() == _ANSWER
    made.archive(ours)
    assert made.call() == b""
    made.archive(other)
    assert made.call() == b""
    assert "has no registered CA" in made.last_failure


def test_name_outside_the_certificate(made: Made) -> None:
    made.register(made.issued.ca)
    assert made.call(f"a.b.{made.host}") == b""
    assert "Hostname mismatch" in made.last_failure


def test_unknown_domain_and_archived_tunnel(made: Made) -> None:
    made.register(made.issued.ca)
    assert made.call("echo.nobody0.tunnel.anthropic.com") == b""
    expected = "no active tunnel has the domain of echo.nobody0.tunnel.anthropic.com"
    assert made.last_failure == expected
    assert made.call() == _ANSWER
    with made.store.change() as state:
        Tunnels(state, None).archive(made.id)
    assert made.call() == b""
    assert made.last_failure == f"no active tunnel has the domain of {made.host}"
    made.tunnel.edge.ask("drop")
    wait_for(lambda: "Unauthorized: Tunnel not found" in made.connector.log)


def test_tunnel_without_connectors(made: Made) -> None:
    """The tunnel for manual mode: connectors of the other tunnel do not carry its clients."""
    assert made.call(f"echo.{made.tunnel.edge.tunnel.domain}") == b""
    assert "no connector is registered" in made.last_failure


def test_proxy_that_speaks_no_tls(tunnel: Tunnel) -> None:
    """A CA registered for the manual tunnel is checked from then on."""
    connector = tunnel.connected("run", "--url", tunnel.start_origin())
    manual = tunnel.edge.tunnel
    with tunnel.edge.api.store.change() as state:
        Tunnels(state, None).add_certificate(manual.id, {"ca_certificate_pem": authority()})
    context = ssl.create_default_context(cadata=authority())
    with tunnel.edge.client() as client, pytest.raises(OSError, match=r".") as cut:
        context.wrap_socket(client, server_hostname=f"echo.{manual.domain}")
    assert not isinstance(cut.value, TimeoutError)
    assert "no inner TLS" in tunnel.edge.ask("status")["last_failure"]
    assert connector.has(4)


def test_verdict_is_kept_for_a_while(made: Made) -> None:
    """A busy client therefore costs one handshake a second, not one a connection."""
    made.register(made.issued.ca)
    calls = 16
    began = time.monotonic()
    for _ in range(calls):
        assert made.call() == _ANSWER
    periods = int((time.monotonic() - began) / _HOLDS) + 1
    assert calls < made.opened <= calls + 4 * periods


def test_connector_that_leaves_while_it_is_verified(made: Made) -> None:
    """It has not been given the client, so the client is another connector's."""
    made.register(made.issued.ca)
    edge, first = made.tunnel.edge, made.connector
    made.connected()
    leaving = str(first.ready()["connectorId"])

    def connections(connector: str) -> list[dict[str, Any]]:
        return [each for each in edge.connections if each["connector"] == connector]

    def leave() -> None:
        edge.ask("unpin")
        first.process.terminate()
        wait_for(lambda: all(each["draining"] for each in connections(leaving)))

    made.first_opened = leave
    edge.ask("pin", leaving)
    assert made.call() == _ANSWER, made.last_failure
    first.process.wait(PATIENCE)
