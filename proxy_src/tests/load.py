"""Load on a proxy while something happens to it, and the outcome of every request.

About 200 requests a second: on connections that are kept, and on new ones, each with its own inner
TLS handshake; beside them streams of events.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

from bridge import TunnelBridge
from running import DOMAIN, PATIENCE, RunningProxy
from tunnelled import answer, get
from upstreams import plain_answer, raw_upstream, read_head

_KEPT = 8
_KEPT_PAUSE = 0.05
_FRESH = 4
_FRESH_PAUSE = 0.1
_EVENT = b"data: tick\n\n"
_LOST = (OSError, asyncio.IncompleteReadError, ssl.SSLError)

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def event_upstream() -> contextlib.AbstractAsyncContextManager[int]:
    """Answers at once; ``/events`` is a stream with an event each 50 ms that never ends."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            line, _ = await read_head(reader)
            if " /events " not in line:
                writer.write(plain_answer(b"ok"))
                continue
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            writer.write(head + b"Transfer-Encoding: chunked\r\n\r\n")
            while True:
                writer.write(b"%x\r\n%s\r\n" % (len(_EVENT), _EVENT))
                await writer.drain()
                await asyncio.sleep(0.05)

    return raw_upstream(serve)


class Load:
    """The clients. ``failed`` has a line for each request without its answer.

    It says in which ``phase``, a word of the test's, a new connection began.
    """

    def __init__(self, proxy: RunningProxy, port: int) -> None:
        self.failed: list[str] = []
        self.phase = "before"
        self.sent_again = 0
        self.streams_cut = 0
        self.events = 0
        self._proxy = proxy
        self._port = port
        self._tls = proxy.client_tls("http/1.1")
        self._going = True
        self._one_more = asyncio.Event()
        self._requests: list[asyncio.Task[None]] = []
        self._streams: list[asyncio.Task[None]] = []

    def begin(self) -> None:
        """Start the requests."""
        self._requests += [asyncio.ensure_future(self._keep()) for _ in range(_KEPT)]
        self._requests += [asyncio.ensure_future(self._renew()) for _ in range(_FRESH)]

    async def end(self) -> None:
        """Stop, after every request has come to its end."""
        self._going = False
        for task in self._requests:
            await asyncio.wait_for(task, PATIENCE)
        await self.close_streams()

    async def close_streams(self) -> None:
        """Leave all streams."""
        for task in self._streams:
            task.cancel()
        await asyncio.gather(*self._streams, return_exceptions=True)

    async def stream(self) -> None:
        """Open one more stream of events, and wait for the first."""
        reader, writer = await self._connect()
        writer.write(get("echo", "/events"))
        await reader.readuntil(_EVENT)
        self._streams.append(asyncio.ensure_future(self._read(reader, writer)))

    @property
    def streams_open(self) -> int:
        """Streams that still bring events."""
        return sum(not task.done() for task in self._streams)

    async def more(self, requests: int) -> None:
        """Wait until so many more requests have been answered."""
        for _ in range(requests):
            self._one_more.clear()
            await asyncio.wait_for(self._one_more.wait(), PATIENCE)

    async def _connect(self) -> Streams:
        return await asyncio.open_connection(
            "127.0.0.1", self._port, ssl=self._tls, server_hostname=f"echo.{DOMAIN}"
        )

    async def _keep(self) -> None:
        reader, writer = await self._connect()
        while self._going:
            try:
                writer.write(get())
                status, _, _ = await answer(reader)
            except asyncio.IncompleteReadError as error:
                writer.transport.abort()
                if error.partial:
                    self.failed.append(f"on a kept connection: {error!r}")
                else:
                    # Closed while it was idle, at the moment of the request: every HTTP client has
                    # to expect this, and sends again (RFC 9112 §9.3.1).
                    self.sent_again += 1
                reader, writer = await self._connect()
                continue
            except _LOST as error:
                writer.transport.abort()
                self.failed.append(f"on a kept connection: {error!r}")
                reader, writer = await self._connect()
                continue
            self._count(status)
            await asyncio.sleep(_KEPT_PAUSE)
        writer.transport.abort()

    async def _renew(self) -> None:
        while self._going:
            phase = self.phase
            try:
                reader, writer = await self._connect()
                writer.write(get("echo", "/", "Connection: close"))
                status, _, _ = await answer(reader)
                writer.transport.abort()
            except _LOST as error:
                self.failed.append(f"on a new connection, {phase}: {error!r}")
            else:
                self._count(status)
            await asyncio.sleep(_FRESH_PAUSE)

    def _count(self, status: int) -> None:
        if status == 200:
            self._one_more.set()
        else:
            self.failed.append(f"status {status}")

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await reader.readuntil(_EVENT)
                self.events += 1
        except _LOST:
            self.streams_cut += 1
        finally:
            writer.transport.abort()


def _sockets(pid: int) -> int:
    """The number of sockets that a process has open."""
    links = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            links.append(os.readlink(entry))
    return sum(link.startswith("socket:") for link in links)


@contextlib.asynccontextmanager
async def load(proxy: RunningProxy) -> AsyncIterator[Load]:
    """Requests until the end of the block, where every one has been answered, and streams.

    There are at least six streams, and at least one on each worker.
    """
    idle = {pid: _sockets(pid) for pid in proxy.workers()}
    async with TunnelBridge(proxy.port) as port:
        made = Load(proxy, port)
        while made.streams_open < 6 or any(_sockets(pid) == idle[pid] for pid in idle):
            await made.stream()
        made.begin()
        await made.more(50)
        yield made
        await made.more(50)
        await made.end()
