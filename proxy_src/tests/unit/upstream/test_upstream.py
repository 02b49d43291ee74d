"""A connection to an upstream over TLS that is lost while its answer is not wanted yet."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
import uvloop
from mcp_proxy.config.model import Upstream, UpstreamPolicy
from mcp_proxy.system.turn import Turn
from mcp_proxy.upstream.dial import Dialer
from mcp_proxy.upstream.pool import UpstreamConnection, UpstreamPool
from pki import Authority
from upstreams import raw_upstream


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take a little, and close with the rest unread: the kernel sends a RST."""
    await reader.readexactly(1)
    writer.transport.abort()


async def lost(directory: Path, user: mock.Mock) -> UpstreamConnection:
    """A connection that the upstream resets while it has much to send and its answer waits."""
    authority = Authority()
    certificate, key = authority.issue("localhost").write(directory)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    policy = UpstreamPolicy(
        disable_ip_validation=True, ca_file="ca.crt", ca_pem=authority.cert.decode()
    )
    pool = UpstreamPool(Dialer(policy, 5.0), 5.0, Turn())
    async with raw_upstream(reset, context) as port:
        connection = await pool.dial(Upstream("https", "localhost", port))
        connection.begin(user, b"POST / HTTP/1.1\r\n\r\n", b"POST")
        connection.pause_reading()
        connection.write(bytes(32 << 20))
        for _ in range(3000):
            if connection.transport.get_extra_info("socket") is None:
                break
            await asyncio.sleep(0.01)
        assert connection.transport.get_extra_info("socket") is None
    return connection


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_lost_connection_whose_answer_waits_has_nobody_to_be_asked(
    tmp_path: Path, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """An error here would stop the worker's clock for all time limits."""

    async def run() -> None:
        user = mock.Mock()
        connection = await lost(tmp_path, user)
        connection.check(0.0)
        user.upstream_failed.assert_not_called()
        connection.discard()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(asyncio.wait_for(run(), 60))
