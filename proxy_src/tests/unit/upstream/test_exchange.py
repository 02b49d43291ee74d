"""An exchange that is cut, because too much waits, is over once, whoever ends it first."""

from __future__ import annotations

import asyncio
from unittest import mock

import pytest
from mcp_proxy.config.model import Upstream
from mcp_proxy.http.messages import RequestHead
from mcp_proxy.system.turn import Turn
from mcp_proxy.upstream.exchange import Exchange, Forwarder
from mcp_proxy.upstream.pool import UpstreamPool
from mcp_proxy.upstream.router import Router
from mcp_proxy.watch.access_log import AccessLog
from mcp_proxy.watch.metrics import Metrics

HEAD = RequestHead(b"POST", b"/mcp", b"wiki.example.com", [], 1000, "2")


@pytest.fixture
def forwarder() -> Forwarder:
    """Whose upstream never accepts a connection."""
    dialer = mock.Mock()
    dialer.connect.side_effect = lambda *_: asyncio.sleep(3600)
    router = Router({"wiki": Upstream("http", "mcp.lan", 80)}, "example.com")
    pool = UpstreamPool(dialer, 60, Turn())
    return Forwarder(router, pool, Metrics(), AccessLog(False), 60.0)


def upload(forwarder: Forwarder) -> tuple[Exchange, mock.Mock]:
    """A request whose content waits for a connection."""
    stream = mock.Mock()
    exchange = forwarder.exchange(HEAD, stream, "127.0.0.1")
    exchange.request_body(bytes(400))
    return exchange, stream


@pytest.mark.parametrize("first", ["client", "budget"])
async def test_an_end_counts_once(forwarder: Forwarder, first: str) -> None:
    exchange, stream = upload(forwarder)
    _, other_stream = upload(forwarder)
    assert forwarder.metrics.in_flight("wiki") == 2
    if first == "client":
        exchange.client_gone()
        exchange.give_way(400)
        stream.abort.assert_not_called()
    else:
        exchange.give_way(400)
        exchange.client_gone()
        stream.abort.assert_called_once()
    assert forwarder.metrics.in_flight("wiki") == 1
    assert forwarder.pool.turn.budget.held == 400
    other_stream.abort.assert_not_called()
