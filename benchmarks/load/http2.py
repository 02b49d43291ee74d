"""HTTP/2 inside: the load generator's connections and its work on them.

Frames are made by hand: a slow load generator would get more wake-ups out of a chain.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
from collections.abc import AsyncIterator

from hpack import Encoder

from benchmarks import BenchError
from benchmarks.figures import Sample
from benchmarks.load.client import STEP_SECONDS, Answer, TunnelConnection
from benchmarks.load.workloads import SMALL_BODY, SMALL_FIELDS, Target, cpu
from benchmarks.rivals.upstream import SMALL_ANSWER

_STREAMS = 32
_HEADER = struct.Struct(">BHBBL")
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM = _ACK = 1
_END_HEADERS = 4
_STATUS_200 = 0x88  # RFC 7541, Appendix A
_NO_TABLE = b"\x20"


def _frame(kind: int, flags: int, number: int, payload: bytes) -> bytes:
    return _HEADER.pack(0, len(payload), kind, flags, number) + payload


# With a window for all answers that a connection will ever get.
_START = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    + _frame(_SETTINGS, 0, 0, b"")
    + _frame(_WINDOW_UPDATE, 0, 0, struct.pack(">L", (1 << 31) - 65536))
)


class Http2Connection(TunnelConnection):
    """A connection on which requests may overlap; all of them are the same ``tools/call``."""

    def __init__(
        self, context: ssl.SSLContext, host: str, session: ssl.SSLSession | None = None
    ) -> None:
        super().__init__(context, host, session)
        self._encoder = Encoder()
        self._block = b""
        self._next = 1
        self._rest = b""
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._status: dict[int, int] = {}
        self._lengths: dict[int, int] = {}

    async def small_request(self) -> None:
        """One request and its answer.

        :raises BenchError: the answer is wrong, or STEP_SECONDS passed
        """
        number = self._next
        self._next += 2
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        self.write(
            (_START if number == 1 else b"")
            + _frame(_HEADERS, _END_HEADERS, number, self._fields(number))
            + _frame(_DATA, _END_STREAM, number, SMALL_BODY)
        )
        async with asyncio.timeout(STEP_SECONDS):
            result = await answer
        if result != Answer(200, len(SMALL_ANSWER)):
            raise BenchError(f"expected 200 and {len(SMALL_ANSWER)} bytes, got {result}")

    def _fields(self, number: int) -> bytes:
        """The field section; from the second request on the table has all of it."""
        if number <= 3:
            self._block = self._encoder.encode(
                [
                    (b":method", b"POST"),
                    (b":scheme", b"https"),
                    (b":authority", self.host.encode()),
                    (b":path", b"/mcp"),
                    *SMALL_FIELDS,
                    (b"content-length", b"%d" % len(SMALL_BODY)),
                ]
            )
        return self._block

    def http_received(self, data: bytes) -> None:
        data = self._rest + data
        position = 0
        while len(data) - position >= _HEADER.size:
            high, low, kind, flags, number = _HEADER.unpack_from(data, position)
            start = position + _HEADER.size
            end = start + (high << 16 | low)
            if end > len(data):
                break
            self._note(kind, flags, number, data[start:end])
            position = end
        self._rest = data[position:]

    def _note(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if kind == _HEADERS:
            self._status[number] = 200 if payload.lstrip(_NO_TABLE)[0] == _STATUS_200 else 0
        elif kind == _DATA:
            self._lengths[number] = self._lengths.get(number, 0) + len(payload)
        elif kind in (_RST_STREAM, _GOAWAY):
            raise BenchError(f"the chain gave up ({payload!r})")
        elif kind in (_SETTINGS, _PING) and not flags & _ACK:
            self.write(_frame(kind, _ACK, 0, payload if kind == _PING else b""))
        if kind in (_HEADERS, _DATA) and flags & _END_STREAM:
            answer = Answer(self._status.pop(number, 0), self._lengths.pop(number, 0))
            self._waiting.pop(number).set_result(answer)


@contextlib.asynccontextmanager
async def _connections(target: Target, count: int) -> AsyncIterator[list[Http2Connection]]:
    """That many connections, each of which has carried one request."""
    opened: list[Http2Connection] = []
    try:
        for _ in range(count):
            opened.append(await target.connect(Http2Connection, "h2"))
            await opened[-1].small_request()
        yield opened
    finally:
        for connection in opened:
            connection.transport.abort()


async def small_requests(target: Target, count: int) -> Sample:
    """Microseconds of CPU per small request on 32 connections, one stream at a time on each."""
    return await _small_requests(target, count, connections=_STREAMS)


async def small_requests_multiplexed(target: Target, count: int) -> Sample:
    """Microseconds of CPU per small request on one connection, 32 streams at a time."""
    return await _small_requests(target, count, connections=1)


async def _small_requests(target: Target, count: int, connections: int) -> Sample:
    async def loop(connection: Http2Connection, times: int) -> None:
        for _ in range(times):
            await connection.small_request()

    async with _connections(target, connections) as opened:
        times = max(1, count // _STREAMS)
        loops = [loop(opened[turn % connections], times) for turn in range(_STREAMS)]
        return await cpu(target, asyncio.gather(*loops), times * _STREAMS, 1e6)


async def new_connections(target: Target, count: int) -> Sample:
    """Microseconds of CPU per connection: upgrade, full handshake, one request; 4 at a time."""

    async def loop(times: int) -> None:
        for _ in range(times):
            async with _connections(target, 1):
                pass

    times = max(1, count // 4)
    return await cpu(target, asyncio.gather(*(loop(times) for _ in range(4))), 4 * times, 1e6)
