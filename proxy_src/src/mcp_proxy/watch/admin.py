"""The admin listener: health and metrics over plain HTTP, for this machine only."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Sequence
from typing import Callable

from ..config.model import Address

_MAX_HEAD = 8192
"""Bytes of a request, which has no content."""

_MAX_CLIENTS = 256
"""Connections at a time. With one more, the one goes that has got on least lately: a client that
sends and reads at once is done before so many others have come."""

_MAX_WAITING = 64
"""Beside them, clients that wait for a page of metrics."""

_BACKLOG = 32
"""Connections that wait to be accepted, and are accepted in one go: many fewer than there may be,
because those that are accepted together are not read before the last of them."""

_TIMEOUT = 5.0
"""Seconds for a client to send its request and to take the answer."""

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

    One request per connection. Every local user can connect, and none can keep the others from
    health: requests, time and the number of clients are bounded, and one that is slow makes room
    for new ones. Those who want pages of metrics all the time can leave others without one.
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
        self._clients: dict[asyncio.StreamWriter, None] = {}  # the one that got on last comes last
        self._waiting = 0
        self._page: asyncio.Future[bytes] | None = None
        self._next_page: asyncio.Future[bytes] | None = None

    async def start(self, sockets: Sequence[socket.socket] = ()) -> int:
        """Listen on *sockets* that were passed, or on a new one, and return the port.

        Raises :class:`OSError` if the address cannot be bound.
        """
        if not sockets:
            server = await asyncio.start_server(
                self._serve,
                self._address.host,
                self._address.port,
                limit=_MAX_HEAD,
                backlog=_BACKLOG,
            )
            self._servers.append(server)
            port: int = server.sockets[0].getsockname()[1]
            return port
        for sock in sockets:
            # Passed sockets stay open for a successor: the server closes those that it is given.
            server = await asyncio.start_server(
                self._serve, sock=sock.dup(), limit=_MAX_HEAD, backlog=_BACKLOG
            )
            self._servers.append(server)
        port = sockets[0].getsockname()[1]
        return port

    def close(self) -> None:
        """Stop listening; answers under way end by themselves within their time limit."""
        for server in self._servers:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._gets_on(writer)
        try:
            await asyncio.wait_for(self._answer(reader, writer), _TIMEOUT)
        except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError):
            pass  # the client is gone, or slower than it may be
        finally:
            self._clients.pop(writer, None)
            writer.transport.abort()

    def _gets_on(self, client: asyncio.StreamWriter) -> None:
        """Count *client* as the last one to drop."""
        self._clients.pop(client, None)
        if len(self._clients) >= _MAX_CLIENTS:
            slowest = next(iter(self._clients))
            del self._clients[slowest]
            slowest.transport.abort()
        self._clients[client] = None

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            head = b""
        words = head.split(b"\r\n", 1)[0].split(b" ")
        method, target = (words[0], words[1]) if len(words) == 3 else (b"", b"")
        self._gets_on(writer)
        path = target.split(b"?", 1)[0]
        if path == b"/metrics" and method in (b"GET", b"HEAD"):
            status, kind, body = await self._scrape(writer)
        else:
            status, kind, body = self._respond(method, path)
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

    async def _scrape(self, client: asyncio.StreamWriter) -> tuple[int, str, bytes]:
        if self._waiting >= _MAX_WAITING:
            return 503, _PLAIN, b"too many ask for metrics at a time\n"
        # It waits for us now, and not we for it.
        self._clients.pop(client, None)
        self._waiting += 1
        try:
            body = await self._make_page()
        finally:
            self._waiting -= 1
        self._gets_on(client)
        return 200, _METRICS, body

    async def _make_page(self) -> bytes:
        """Return a page that is begun from now on: all who wait for it get the same one."""
        if self._next_page is None:
            self._next_page = asyncio.ensure_future(self._make_after(self._page))
        return await asyncio.shield(self._next_page)

    async def _make_after(self, page: asyncio.Future[bytes] | None) -> bytes:
        if page is not None:
            await asyncio.wait({page})
        self._page, self._next_page = self._next_page, None
        return await self._metrics()

    def _respond(self, method: bytes, path: bytes) -> tuple[int, str, bytes]:
        if not method:
            return 400, _PLAIN, b"not an HTTP request\n"
        if method not in (b"GET", b"HEAD"):
            return 405, _PLAIN, b"only GET and HEAD\n"
        if path == b"/healthz":
            return 200, _PLAIN, b"ok\n"
        if path == b"/readyz":
            reason = self._unready()
            return (503, _PLAIN, f"{reason}\n".encode()) if reason else (200, _PLAIN, b"ready\n")
        return 404, _PLAIN, b"there are /healthz, /readyz and /metrics\n"
