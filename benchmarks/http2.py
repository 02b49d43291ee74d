"""HTTP/2 inside: the load generator's connections, and what is done on them."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, ResponseReceived, StreamEnded
from h2.exceptions import ProtocolError

from benchmarks import BenchError
from benchmarks.client import STEP_SECONDS, Answer, TunnelConnection
from benchmarks.figures import Sample
from benchmarks.upstream import SMALL_ANSWER
from benchmarks.workloads import SMALL_BODY, SMALL_FIELDS, Target, cpu

_STREAMS = 32


class Http2Connection(TunnelConnection):
    """A connection on which requests may overlap."""

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        super().__init__(context, host)
        # The load generator's own work is not what is measured.
        config = H2Configuration(
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
            validate_inbound_headers=False,
        )
        self._h2 = H2Connection(config)
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._status: dict[int, int] = {}
        self._lengths: dict[int, int] = {}
        self._begun = False

    async def small_request(self) -> None:
        """A ``tools/call`` and its answer.

        :raises BenchError: the answer is not as it must be, or STEP_SECONDS passed
        """
        if not self._begun:
            self._begun = True
            self._h2.initiate_connection()
        number = self._h2.get_next_available_stream_id()
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        fields = [
            (b":method", b"POST"),
            (b":scheme", b"https"),
            (b":authority", self.host.encode()),
            (b":path", b"/mcp"),
            *SMALL_FIELDS,
            (b"content-length", b"%d" % len(SMALL_BODY)),
        ]
        self._h2.send_headers(number, fields)
        self._h2.send_data(number, SMALL_BODY, end_stream=True)
        self.write(self._h2.data_to_send())
        async with asyncio.timeout(STEP_SECONDS):
            result = await answer
        if result != Answer(200, len(SMALL_ANSWER)):
            raise BenchError(f"expected 200 and {len(SMALL_ANSWER)} bytes, got {result}")

    def http_received(self, data: bytes) -> None:
        try:
            events = self._h2.receive_data(data)
        except ProtocolError as error:
            raise BenchError(f"the chain speaks no HTTP/2: {error}") from error
        for event in events:
            self._note(event)
        if answer := self._h2.data_to_send():
            self.write(answer)

    def _note(self, event: Event) -> None:
        if isinstance(event, ResponseReceived):
            self._status[event.stream_id] = int(dict(event.headers)[b":status"])
        elif isinstance(event, DataReceived):
            number = event.stream_id
            self._lengths[number] = self._lengths.get(number, 0) + len(event.data)
            self._h2.acknowledge_received_data(event.flow_controlled_length, number)
        elif isinstance(event, StreamEnded):
            number = event.stream_id
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
