"""The admin listener: health and metrics over plain HTTP, for this machine only."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Sequence
from typing import Callable

from ..config.model import Address

_MAX_HEAD = 8192
_MAX_CLIENTS = 32
_TIMEOUT = 5.0
_PLAIN = "text/plain; charset=utf-8"
_METRICS = "text/plain; version=0.0.4; charset=utf-8"
_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    503: "Service Unavailable",
}


class AdminServer:
    """Answers ``/healthz`` (the process lives), ``/readyz`` (it takes requests), ``/metrics``.

    One request per connection. Bounded in head size, time and number of clients, because every
    local user can connect.
    """

    def __init__(
        self,
        address: Address,
        metrics: Callable[[], Awaitable[bytes]],
        unready: Callable[[], str],
    ) -> None:
        """*metrics* returns the page of ``/metrics``.

        *unready* returns why requests should not be sent here, ``""`` when they may.
        """
        self._address = address
        self._metrics = metrics
        self._unready = unready
        self._servers: list[asyncio.AbstractServer] = []
        self._clients = 0

    async def start(self, sockets: Sequence[socket.socket] = ()) -> int:
        """Listen on *sockets* that were passed, or on a new one, and return the port.

        Raises :class:`OSError` if the address cannot be bound.
        """
        if not sockets:
            server = await asyncio.start_server(
                self._serve, self._address.host, self._address.port, limit=_MAX_HEAD
            )
            self._servers.append(server)
            port: int = server.sockets[0].getsockname()[1]
            return port
        for sock in sockets:
            # Passed sockets stay open for a successor: the server closes those that it is given.
            server = await asyncio.start_server(self._serve, sock=sock.dup(), limit=_MAX_HEAD)
            self._servers.append(server)
        port = sockets[0].getsockname()[1]
        return port

    def close(self) -> None:
        """Stop listening; answers under way end by themselves within their time limit."""
        for server in self._servers:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._clients >= _MAX_CLIENTS:
            writer.transport.abort()
            return
        self._clients += 1
        try:
            await asyncio.wait_for(self._answer(reader, writer), _TIMEOUT)
        except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError):
            pass  # the client is gone, or slower than it may be
        finally:
            self._clients -= 1
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            head = b""
        words = head.split(b"\r\n", 1)[0].split(b" ")
        method, target = (words[0], words[1]) if len(words) == 3 else (b"", b"")
        status, kind, body = await self._respond(method, target.split(b"?", 1)[0])
        lines = [
            f"HTTP/1.1 {status} {_REASONS[status]}",
            f"Content-Type: {kind}",
            f"Content-Length: {len(body)}",
            "Cache-Control: no-store",
            "Connection: close",
        ]
        if status == 405:
            lines.append("Allow: GET, HEAD")
        writer.write("\r\n".join([*lines, "", ""]).encode() + (b"" if method == b"HEAD" else body))
        writer.close()
        await writer.wait_closed()

    async def _respond(self, method: bytes, path: bytes) -> tuple[int, str, bytes]:
        if not method:
            return 400, _PLAIN, b"not an HTTP request\n"
        if method not in (b"GET", b"HEAD"):
            return 405, _PLAIN, b"only GET and HEAD\n"
        if path == b"/healthz":
            return 200, _PLAIN, b"ok\n"
        if path == b"/readyz":
            reason = self._unready()
            return (503, _PLAIN, f"{reason}\n".encode()) if reason else (200, _PLAIN, b"ready\n")
        if path == b"/metrics":
            return 200, _METRICS, await self._metrics()
        return 404, _PLAIN, b"there are /healthz, /readyz and /metrics\n"
