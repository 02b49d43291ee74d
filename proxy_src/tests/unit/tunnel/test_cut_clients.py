"""The lines about clients that were cut: however many are cut, few lines say so."""

from __future__ import annotations

from unittest import mock

import pytest
from mcp_proxy.config import model as settings
from mcp_proxy.tunnel.connection import TunnelConnection
from mcp_proxy.tunnel.server import ProxyServer
from mcp_proxy.watch.metrics import Metrics


class Scene:
    """A listener, and the lines about clients that it has cut since the last look."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        config = settings.Config(settings.Address("", 0), settings.Tls("", ""), {})
        self._log = caplog
        self.server = ProxyServer(config, Metrics(), mock.Mock())

    def cut(self, held: int) -> None:
        """Cut a client for which *held* bytes wait."""
        connection = self.server._connection()
        assert isinstance(connection, TunnelConnection)
        connection.connection_made(mock.MagicMock())
        connection.give_way(held)

    def tick(self) -> None:
        if self.server._clock is not None:
            self.server._clock.cancel()
        self.server._tick()

    def lines(self) -> list[dict[str, int]]:
        texts = [record.__dict__["mcp_fields"] for record in self._log.records]
        self._log.clear()
        return texts


async def test_one_line_for_all_that_were_cut_at_a_time(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("WARNING", "mcp_proxy")
    scene = Scene(caplog)
    for held in (700, 200, 100):
        scene.cut(held)
    scene.tick()
    assert scene.lines() == [{"clients": 3, "bytes": 1000}]
    scene.tick()
    assert scene.lines() == []
    scene.cut(50)
    assert await scene.server.drain(0.0) == 0
    assert scene.lines() == [{"clients": 1, "bytes": 50}]
