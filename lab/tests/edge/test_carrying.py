"""Clients' bytes arrive whole, in order, and no faster than they are read."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
from pathlib import Path

import pytest
from websockets.sync.server import ServerConnection

from lab.tests.loopback import PATIENCE, Tunnel, receive, wait_for

MIB = 1 << 20


def test_bytes_arrive_both_ways(tunnel: Tunnel) -> None:
    tunnel.connected("run", "--url", tunnel.start_origin())
    for size in (1, 125, 126, 65_535, 65_536, 3 * MIB):
        sent = os.urandom(size)
        with tunnel.edge.client() as client:
            threading.Thread(target=client.sendall, args=(sent,)).start()
            assert receive(client, size) == sent
    assert tunnel.edge.ask("status")["carried"] == 6


def test_the_origin_sees_the_upgrade_of_the_edge(tunnel: Tunnel) -> None:
    seen: list[ServerConnection] = []
    url = tunnel.start_origin(seen.append)
    connector = tunnel.connected("run", "--url", url)
    with tunnel.edge.client() as client:
        assert client.recv(1) == b""  # the origin closed the WebSocket, so the client ends too
    request = seen[0].request
    assert request is not None
    assert request.path == "/"
    assert request.headers["Host"] == tunnel.edge.tunnel.domain
    assert request.headers["Cf-Warp-Tag-Id"] == connector.ready()["connectorId"]
    assert request.headers["Accept-Encoding"] == "gzip"
    assert "Cf-Cloudflared-Proxy-Connection-Upgrade" not in request.headers


@pytest.mark.parametrize("slow", ["client", "origin"])
def test_who_does_not_read_stops_who_writes(tunnel: Tunnel, slow: str) -> None:
    """Nothing on the way may buffer 200 MiB while the other end sleeps; later, all arrives."""
    size, woken, digest = 200 * MIB, threading.Event(), hashlib.sha256()

    def sleepy(connection: ServerConnection) -> None:
        woken.wait(PATIENCE)
        left = size
        while left:
            message = connection.recv()
            assert isinstance(message, bytes)
            digest.update(message)
            left -= len(message)
        connection.send(b"done")

    def pouring(connection: ServerConnection) -> None:
        for _ in range(size // MIB):
            connection.send(bytes(MIB))
        connection.recv()

    tunnel.connected("run", "--url", tunnel.start_origin(sleepy if slow == "origin" else pouring))
    client = tunnel.edge.client()
    with client:
        if slow == "origin":
            taken = _pour(client, size)
            assert taken < 64 * MIB
            woken.set()
            client.settimeout(PATIENCE)
            for _ in range((size - taken) // MIB):
                client.sendall(bytes(MIB))
            client.sendall(bytes((size - taken) % MIB))
            assert receive(client, 4) == b"done"
            assert digest.digest() == hashlib.sha256(bytes(size)).digest()
        else:
            time.sleep(2)
            status = Path(f"/proc/{tunnel.edge.process.pid}/status").read_text()
            resident = status.partition("VmRSS:")[2].split()[0]
            assert int(resident) < 128 * 1024  # kB
            assert len(receive(client, size)) == size


def _pour(client: socket.socket, size: int) -> int:
    """Send until no byte was taken for a second; return how many bytes were taken."""
    client.settimeout(1)
    taken = 0
    try:
        while taken < size:
            taken += client.send(bytes(MIB))
    except TimeoutError:
        pass
    return taken


def test_many_clients_at_once(tunnel: Tunnel) -> None:
    tunnel.connected("run", "--url", tunnel.start_origin())
    clients = [tunnel.edge.client() for _ in range(40)]
    for number, client in enumerate(clients):
        client.sendall(str(number).encode().rjust(8))
    assert [int(receive(client, 8)) for client in clients] == list(range(40))
    streams = [connection["streams"] for connection in tunnel.edge.connections]
    assert streams == [10, 10, 10, 10]  # in turn
    for client in clients:
        client.close()
    wait_for(lambda: not any(each["streams"] for each in tunnel.edge.connections))


def test_no_connector_cuts_the_client_off(tunnel: Tunnel) -> None:
    with tunnel.edge.client() as client:
        assert client.recv(1) == b""
    assert tunnel.edge.ask("status")["last_failure"] == "no connector is registered"


def test_proxy_down(tunnel: Tunnel) -> None:
    """The client is cut off at once, and the connector still calls itself ready."""
    connector = tunnel.connected("run", "--url", "http://127.0.0.1:9")
    with tunnel.edge.client() as client:
        assert client.recv(1) == b""
    assert "answered 502" in tunnel.edge.ask("status")["last_failure"]
    assert connector.ready()["readyConnections"] == 4
    wait_for(lambda: "Unable to reach the origin service" in connector.log)
    assert "dial tcp 127.0.0.1:9: connect: connection refused" in connector.log


def test_without_url_every_request_is_503(tunnel: Tunnel) -> None:
    connector = tunnel.connected()
    with tunnel.edge.client() as client:
        assert client.recv(1) == b""
    assert "answered 503" in tunnel.edge.ask("status")["last_failure"]
    assert "No ingress rules were defined" in connector.log


def test_pinned_to_one_connector(tunnel: Tunnel) -> None:
    url = tunnel.start_origin()
    first, second = (tunnel.connected("run", "--url", url) for _ in range(2))
    wait_for(lambda: len(tunnel.edge.connections) == 8)
    chosen = second.ready()["connectorId"]
    tunnel.edge.ask("pin", chosen)
    clients = [tunnel.edge.client() for _ in range(4)]
    for client in clients:
        client.sendall(b"x")
        assert receive(client, 1) == b"x"
    used = {each["connector"] for each in tunnel.edge.connections if each["streams"]}
    assert used == {chosen}
    second.process.kill()
    wait_for(lambda: len(tunnel.edge.connections) == 4)
    with tunnel.edge.client() as client:
        assert client.recv(1) == b""
    tunnel.edge.ask("unpin")
    with tunnel.edge.client() as client:
        client.sendall(b"x")
        assert receive(client, 1) == b"x"
    assert first.process.poll() is None
    for client in clients:
        client.close()
