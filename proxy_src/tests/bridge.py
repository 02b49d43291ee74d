"""A way through the tunnel for any TLS client: TCP on one side, WebSocket messages on the other.

It does what edge and connector do together, so that ``curl``, httpx or an MCP client can perform
the inner TLS handshake with the proxy themselves:

    async with TunnelBridge(proxy_port) as port:
        ...  # connect to 127.0.0.1:port with TLS, for the name <route>.<tunnel-domain>
"""

from __future__ import annotations

import asyncio
from typing import cast

from websockets.client import ClientProtocol
from websockets.frames import Opcode
from websockets.http11 import Response
from websockets.uri import parse_uri

_MESSAGE = 1 << 16


class TunnelBridge:
    """Listens on a free port of the loopback and carries each connection to the proxy."""

    def __init__(self, proxy_port: int) -> None:
        self._proxy_port = proxy_port
        self._server: asyncio.Server | None = None
        self._clients: set[_Client] = set()
        self._tunnels: set[_Tunnel] = set()

    async def __aenter__(self) -> int:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Client(self._proxy_port, self._clients, self._tunnels), "127.0.0.1", 0
        )
        return cast(int, self._server.sockets[0].getsockname()[1])

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for client in list(self._clients):
            client.abort()
        await self._server.wait_closed()
        # Their closing handshakes; a busy machine may leave some behind with the event loop.
        for _ in range(100):
            await asyncio.sleep(0)
            if not self._tunnels:
                return
            await asyncio.sleep(0.01)
        for tunnel in list(self._tunnels):
            tunnel.transport.abort()
        await asyncio.sleep(0)


class _Client(asyncio.Protocol):
    """One connection of a TLS client; waits with its bytes until the WebSocket is open."""

    def __init__(self, proxy_port: int, clients: set[_Client], tunnels: set[_Tunnel]) -> None:
        self._clients = clients
        self.tunnels = tunnels
        self._port = proxy_port
        self._early: list[bytes] = []
        self.tunnel: _Tunnel | None = None
        self._opening: asyncio.Task[None] | None = None
        self._heard_out = self._finished = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._clients.add(self)
        self._opening = asyncio.ensure_future(self._open())

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: _Tunnel(self, self._port), "127.0.0.1", self._port)
        except OSError:
            self.transport.abort()

    def opened(self, tunnel: _Tunnel) -> None:
        self.tunnel = tunnel
        for data in self._early:
            tunnel.send(data)
        self._early.clear()

    def data_received(self, data: bytes) -> None:
        if self.tunnel is None:
            self._early.append(data)
        else:
            self.tunnel.send(data)

    def pause_writing(self) -> None:
        if self.tunnel is not None:
            self.tunnel.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.tunnel is not None and not self.tunnel.transport.is_closing():
            self.tunnel.transport.resume_reading()

    def eof_received(self) -> bool:
        if self.tunnel is not None:
            self.tunnel.close()
        self._heard_out = True
        return not self._finished

    def finish(self) -> None:
        """End the tunnel, and read the client to its end: a reset would overtake the answer."""
        self._finished = True
        if self._heard_out:
            self.transport.close()
        elif not self.transport.is_closing():
            self.transport.write_eof()
            self.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self._clients.discard(self)
        if self._opening is not None:
            self._opening.cancel()
        if self.tunnel is not None:
            self.tunnel.close()

    def abort(self) -> None:
        self.transport.abort()
        if self.tunnel is not None:
            self.tunnel.transport.abort()


class _Tunnel(asyncio.Protocol):
    """The WebSocket connection that carries one client."""

    def __init__(self, client: _Client, port: int) -> None:
        self._client = client
        self._ws = ClientProtocol(parse_uri(f"ws://127.0.0.1:{port}/"), max_size=None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._client.tunnels.add(self)
        self._ws.send_request(self._ws.connect())
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._ws.receive_data(data)
        for event in self._ws.events_received():
            if isinstance(event, Response):
                if self._ws.handshake_exc is None:
                    self._client.opened(self)
                else:
                    self._client.transport.close()
            elif event.opcode in (Opcode.BINARY, Opcode.CONT):
                self._client.transport.write(event.data)
            elif event.opcode is Opcode.CLOSE:
                self._client.finish()
        self._flush()

    def send(self, data: bytes) -> None:
        if self._ws.state.name == "OPEN":
            view = memoryview(data)
            for start in range(0, len(view), _MESSAGE):
                self._ws.send_binary(view[start : start + _MESSAGE])
            self._flush()

    def close(self) -> None:
        if self._ws.state.name == "OPEN":
            self._ws.send_close(1000)
            self._flush()

    def pause_writing(self) -> None:
        if not self._client.transport.is_closing():
            self._client.transport.pause_reading()

    def resume_writing(self) -> None:
        if not self._client.transport.is_closing():
            self._client.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self._client.tunnels.discard(self)
        self._client.finish()

    def _flush(self) -> None:
        chunks = self._ws.data_to_send()
        if not self.transport.is_closing():
            self.transport.writelines([chunk for chunk in chunks if chunk])
            if chunks and not chunks[-1]:
                self.transport.close()
