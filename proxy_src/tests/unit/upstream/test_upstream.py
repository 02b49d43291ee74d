"""Connections to upstreams over TLS whose answer is not wanted yet."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
import uvloop
from fakes import deliver
from mcp_proxy.config.model import Upstream, UpstreamPolicy
from mcp_proxy.system.turn import Turn
from mcp_proxy.upstream.dial import Dialer
from mcp_proxy.upstream.pool import Reserve, UpstreamConnection, UpstreamPool
from mcp_proxy.upstream.tls import UpstreamTls
from pki import Authority
from running import becomes
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


class Joined:
    """A connection and the upstream's side of its TLS, joined in memory but for a socketpair(2)."""

    def __init__(self, ours: socket.socket, peer: socket.socket, directory: Path) -> None:
        authority = Authority()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.issue("localhost").write(directory))
        self._peer = peer
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=True)
        self.turn = Turn()
        pool = UpstreamPool(mock.Mock(), 5.0, self.turn)
        reserve = Reserve(Upstream("https", "localhost", 443), 5.0)
        self.connection = UpstreamConnection(pool, reserve, "127.0.0.1")
        trust = ssl.create_default_context(cadata=authority.cert.decode())
        self.ours = UpstreamTls(self.connection, trust, "localhost")
        methods = {"is_closing.return_value": False, "get_write_buffer_size.return_value": 0}
        transport = mock.Mock(**methods)
        transport.get_extra_info.side_effect = {"socket": ours}.get
        self.ours.connection_made(transport)
        while not self._shakes_hands():
            pass
        assert self.ours.ready.done()

    def _shakes_hands(self) -> bool:
        """Go a step further; return whether it is through."""
        self._in.write(self._peer.recv(1 << 16))
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            deliver(self.ours, self._out.read())
        return True

    def encrypted(self, data: bytes) -> bytes:
        """What the upstream sends to say *data*."""
        self._tls.write(data)
        return self._out.read()


async def test_what_is_not_decrypted_yet_counts(tmp_path: Path) -> None:
    """A read takes more from the network than a client that is slow has room for."""
    ours, peer = socket.socketpair()
    with ours, peer:
        joined = Joined(ours, peer, tmp_path)
        connection, budget = joined.connection, joined.turn.budget
        user = mock.Mock(room=1 << 13)
        user.response_body.side_effect = lambda _: connection.pause_reading()
        connection.begin(user, b"GET / HTTP/1.1\r\n\r\n", b"GET")
        await asyncio.sleep(0)
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n"
        deliver(joined.ours, joined.encrypted(head + bytes(60_000)))
        (given,) = [len(call.args[0]) for call in user.response_body.call_args_list]
        assert given < 1 << 13
        waiting = 60_000 - given
        assert waiting <= budget.held < waiting + 500
        joined.ours.connection_lost(None)
        budget.refresh()
        assert waiting <= budget.held < waiting + 500
        user.response_body.side_effect = None
        connection.resume_reading()

        async def taken() -> int:
            return sum(len(call.args[0]) for call in user.response_body.call_args_list)

        await becomes(60_000, taken)
        budget.refresh()
        assert budget.held == 0
        connection.discard()


async def test_content_that_goes_on_waits_for_no_other_read() -> None:
    """A head, and what comes with it, leaves with the other answers of the turn."""
    ours, peer = socket.socketpair()
    with ours, peer:
        turn, left = Turn(), list[bytes]()
        pool = UpstreamPool(mock.Mock(), 5.0, turn)
        reserve = Reserve(Upstream("http", "localhost", 80), 5.0)
        connection = UpstreamConnection(pool, reserve, "127.0.0.1")
        transport = mock.Mock(**{"is_closing.return_value": False})
        transport.get_extra_info.side_effect = {"socket": ours}.get
        transport.get_write_buffer_size.return_value = 0
        connection.connection_made(transport)
        user = mock.Mock(room=1 << 18)
        user.response_body.side_effect = lambda data: turn.soon(lambda: left.append(data))
        connection.begin(user, b"GET / HTTP/1.1\r\n\r\n", b"GET")
        deliver(connection, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        assert left == []
        await asyncio.sleep(0)
        assert left == [b"a"]
        deliver(connection, b"1\r\nb\r\n")
        assert left == [b"a", b"b"]
        connection.discard()
