"""Connections that are too old, lost with an answer that waits, or whose machine is gone; writing.

test_pool_machine.py has the rest.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from unittest import mock

import mcp_proxy.upstream.pool
import pytest
from fakes import deliver
from mcp_proxy.config.model import Upstream
from mcp_proxy.system.turn import Turn
from mcp_proxy.upstream.pool import UpstreamConnection, UpstreamPool

UPSTREAM = Upstream("http", "mcp.lan", 80)
IDLE, AGE = 60, 100


class Scene:
    """A pool with a clock of the test's own, and a dialler that succeeds."""

    def __init__(self, sock: socket.socket, peer: socket.socket) -> None:
        self.now = 1000.0
        self.peer = peer
        self.dialer = mock.AsyncMock()
        self.dialer.set_aside = mock.Mock()
        self.dialer.connect.side_effect = self.connect
        self.pool = UpstreamPool(self.dialer, IDLE, Turn(), AGE)
        self.transport = mock.Mock(
            **{"is_closing.return_value": False, "get_write_buffer_size.return_value": 0}
        )
        self.transport.get_extra_info.side_effect = {"socket": sock}.get

    def monotonic(self) -> float:
        """Stands in for the clock of the module ``time``."""
        return self.now

    async def connect(self, upstream: Upstream, factory: object) -> UpstreamConnection:
        connection: UpstreamConnection = factory("10.0.0.1")  # type: ignore[operator]
        connection.connection_made(self.transport)
        return connection


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    ours, peer = socket.socketpair()
    with ours, peer:
        made = Scene(ours, peer)
        monkeypatch.setattr(mcp_proxy.upstream.pool, "time", made)
        yield made


async def test_a_connection_that_is_used_all_the_time_grows_old(scene: Scene) -> None:
    connection = await scene.pool.dial(UPSTREAM)
    for _ in range(2):
        scene.now += 49.5
        scene.pool.put(connection, None)
        assert scene.pool.take(UPSTREAM) is connection
    scene.pool.put(connection, None)
    scene.now += 1.5
    assert scene.pool.take(UPSTREAM) is None
    scene.transport.abort.assert_called_once()


async def test_one_that_is_old_already_is_not_kept(scene: Scene) -> None:
    connection = await scene.pool.dial(UPSTREAM)
    scene.now += AGE
    scene.pool.put(connection, None)
    scene.transport.abort.assert_called_once()


async def test_an_address_whose_machine_is_gone_is_set_aside(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = await scene.pool.dial(UPSTREAM)
    keepalive = mock.Mock(**{"silence.return_value": 30.0})
    monkeypatch.setattr(mcp_proxy.upstream.pool, "keepalive", keepalive)
    connection.check(31.0)
    scene.dialer.set_aside.assert_not_called()
    connection.check(30.0)
    (call,) = scene.dialer.set_aside.call_args_list
    assert call.args[:2] == (UPSTREAM, "10.0.0.1")


async def test_an_answer_that_waits_counts_though_its_connection_is_lost(scene: Scene) -> None:
    connection = await scene.pool.dial(UPSTREAM)
    connection.begin(mock.Mock(room=1 << 16), b"GET / HTTP/1.1\r\n\r\n", b"GET")
    await asyncio.sleep(0)  # the request leaves
    budget = scene.pool.turn.budget
    scene.pool.turn.rota.put_off(connection.reserve.account, lambda: None)  # others come first
    deliver(connection, bytes(3000))
    connection.pause_reading()
    assert budget.held == 3000
    for _ in range(5):
        await asyncio.sleep(0)
    connection.connection_lost(None)
    budget.refresh()
    assert budget.held == 3000
    connection.discard()
    assert budget.held == 0


@pytest.mark.parametrize(("count", "size"), [(3000, 20), (3, 20), (6, 5000)])
async def test_any_number_of_pieces_leaves(scene: Scene, count: int, size: int) -> None:
    """The system takes 1024 pieces of a message at a time; DATA frames may be that small."""
    connection = await scene.pool.dial(UPSTREAM)
    pieces = [os.urandom(size) for _ in range(count)]
    connection.write(*pieces)
    await asyncio.sleep(0)
    scene.peer.setblocking(False)
    assert scene.peer.recv(1 << 20) == b"".join(pieces)
    scene.transport.writelines.assert_not_called()
