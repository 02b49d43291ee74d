"""Many cheap clients: each a blocking socket, and a TLS object only as long as it is needed."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from running import DOMAIN, PATIENCE, RunningProxy, becomes
from tunnelled import answer, get, raw_client

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
_SECONDS = PATIENCE


def frame(data: bytes) -> bytes:
    """A masked binary frame with *data*; the mask is zero."""
    size = len(data)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return b"\x82" + length + bytes(4) + data


class Client:
    """A client of the tunnel that goes as far as the test says."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), _SECONDS)
        self._got = b""

    def open_websocket(self) -> int:
        """Shake hands; return the status."""
        self.socket.sendall(UPGRADE)
        head = self._until(b"\r\n\r\n")
        return int(head.split()[1])

    def open_tls(self, context: ssl.SSLContext, route: str = "echo") -> None:
        """Shake hands with the proxy, inside the WebSocket connection."""
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=f"{route}.{DOMAIN}")
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush()
                self._in.write(self._message())
        self._flush()

    def send(self, data: bytes) -> None:
        """Send *data* inside the TLS."""
        self._tls.write(data)
        self._flush()

    def read(self) -> bytes:
        """Some of what has come inside the TLS."""
        while True:
            try:
                return self._tls.read(1 << 16)
            except ssl.SSLWantReadError:
                self._in.write(self._message())

    def forget_tls(self) -> None:
        """Keep only the socket."""
        del self._tls, self._in, self._out

    def close(self) -> None:
        self.socket.close()

    def _flush(self) -> None:
        data = self._out.read()
        for start in range(0, len(data), 1 << 15):
            self.socket.sendall(frame(data[start : start + (1 << 15)]))

    def _until(self, end: bytes) -> bytes:
        while end not in self._got:
            self._more()
        found, _, self._got = self._got.partition(end)
        return found

    def _message(self) -> bytes:
        while len(self._got) < 4:
            self._more()
        size, start = self._got[1], 2
        if size > 125:
            start = 4 if size == 126 else 10
            while len(self._got) < start:
                self._more()
            size = int.from_bytes(self._got[2:start], "big")
        while len(self._got) < start + size:
            self._more()
        data, self._got = self._got[start : start + size], self._got[start + size :]
        return data

    def _more(self) -> None:
        data = self.socket.recv(1 << 16)
        if not data:
            raise ConnectionError("closed by the proxy")
        self._got += data


@contextlib.contextmanager
def closing_all() -> Iterator[list[Client]]:
    """A list of clients that are closed at the end."""
    clients: list[Client] = []
    try:
        yield clients
    finally:
        for client in clients:
            client.close()


@contextlib.asynccontextmanager
async def others_are_served(proxy: RunningProxy, route: str = "echo") -> AsyncIterator[None]:
    """Meanwhile another client is answered, on an old connection and on new ones."""
    served = asyncio.Event()

    async def ask_on_and_on() -> None:
        async with raw_client(proxy, route) as (reader, writer):
            while True:
                writer.write(get(route))
                assert (await answer(reader))[0] == 200
                async with raw_client(proxy, route) as (new_reader, new_writer):
                    new_writer.write(get(route))
                    assert (await answer(new_reader))[0] == 200
                served.set()
                await asyncio.sleep(0.05)

    async def once_more() -> None:
        served.clear()
        waiting = asyncio.ensure_future(served.wait())
        await asyncio.wait({asking, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()

    asking = asyncio.ensure_future(ask_on_and_on())
    await once_more()
    try:
        yield
        # Twice: the first one may have begun before there was anything to notice.
        await once_more()
        await once_more()
    finally:
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking


def rss(proxy: RunningProxy) -> int:
    """The memory that the proxy has resident, in bytes."""
    statuses = [
        Path(f"/proc/{pid}/status").read_text() for pid in (proxy.process.pid, *proxy.workers())
    ]
    return sum(int(status.split("VmRSS:")[1].split()[0]) * 1024 for status in statuses)


def descriptors(proxy: RunningProxy) -> int:
    """The number of open descriptors in the process that has most."""
    return max(
        len(list(Path(f"/proc/{pid}/fd").iterdir()))
        for pid in (proxy.process.pid, *proxy.workers())
    )


async def has_at_most(proxy: RunningProxy, most: int) -> None:
    """Wait until no process of the proxy has more than *most* open descriptors.

    It has one more while it looks how many are left, and a busy machine may stop it just then.
    """

    async def too_many() -> int:
        return max(0, descriptors(proxy) - most)

    await becomes(0, too_many)


def cpu_seconds(proxy: RunningProxy) -> float:
    """The processor time that the proxy has used until now, workers included."""
    stats = [Path(f"/proc/{pid}/stat").read_text() for pid in (proxy.process.pid, *proxy.workers())]
    fields = [stat.rpartition(")")[2].split() for stat in stats]
    return sum(int(item[11]) + int(item[12]) for item in fields) / 100


async def metric(proxy: RunningProxy, name: str) -> float:
    """The sum of all series of the metric *name*."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.admin_port)
    writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
    text = (await reader.read()).decode()
    writer.close()
    lines = [line for line in text.splitlines() if line.split("{")[0].split(" ")[0] == name]
    assert lines, text
    return sum(float(line.rpartition(" ")[2]) for line in lines)


async def comes_to(proxy: RunningProxy, name: str, value: float) -> None:
    """Wait until the metric *name* is *value*."""
    await becomes((name, value), lambda: named(proxy, name))


async def named(proxy: RunningProxy, name: str) -> tuple[str, float]:
    """The metric *name* and its sum, for :func:`running.becomes`."""
    return name, await metric(proxy, name)
