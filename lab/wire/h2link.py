"""HTTP/2 over an asyncio byte stream, for either role, with back-pressure.

Both ends of the connector protocol are unusual users of HTTP/2 (the side that dials is the
*server*), so an ordinary HTTP client or server cannot be used: this wraps the `h2` state machine.
Received data is acknowledged to the peer only when it was read from the stream, so a slow reader
stops the sender after one window; writes wait for the peer's window and for the socket.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

from .h2stream import Headers, LinkClosed, Stream, StreamReset

STREAM_WINDOW = 1 << 20
CONNECTION_WINDOW = 16 << 20
MAX_FRAME = 1 << 18
MAX_STREAMS = 10_000
_READ = 1 << 18


class Link:
    """One HTTP/2 connection. `on_stream` gets each stream that the peer opens (server role)."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        client: bool,
        on_stream: Callable[[Stream], None] | None = None,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._on_stream = on_stream
        self._streams: dict[int, Stream] = {}
        self._window = asyncio.Event()
        self._draining = asyncio.Lock()  # Python 3.9 allows one task to wait for the socket
        self._idle = asyncio.Event()
        self.closed = False
        self.last_heard = 0.0
        """When the peer last sent anything (event loop time, seconds)."""
        # The connector answers with header names that are not all lower case.
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(
                client_side=client, header_encoding="utf-8", validate_inbound_headers=False
            )
        )
        # Replaced, not updated: an update would count from the peer's acknowledgement on, but
        # initiate_connection() would announce the old values.
        self.h2.local_settings = h2.settings.Settings(
            client=client,
            initial_values={
                h2.settings.SettingCodes.ENABLE_PUSH: 0,
                h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
                h2.settings.SettingCodes.MAX_FRAME_SIZE: MAX_FRAME,
                h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
            },
        )
        self.h2.max_inbound_frame_size = MAX_FRAME

    @property
    def active(self) -> int:
        """Number of streams in progress."""
        return len(self._streams)

    async def run(self) -> None:
        """Carry the connection until it ends; every open stream then fails with LinkClosed."""
        reason = "connection closed by peer"
        try:
            self.h2.initiate_connection()
            self.h2.increment_flow_control_window(CONNECTION_WINDOW - 65_535)
            await self.flush()
            while data := await self._reader.read(_READ):
                self.last_heard = asyncio.get_running_loop().time()
                for event in self.h2.receive_data(data):
                    self._handle(event)
                await self.flush()
        except (OSError, h2.exceptions.ProtocolError) as error:
            reason = f"connection failed: {error}"
        finally:
            self.closed = True
            self._window.set()
            for stream in list(self._streams.values()):
                stream.fail(LinkClosed(reason))
            self._streams.clear()
            self._idle.set()
            self._writer.close()

    async def open(self, headers: Headers) -> Stream:
        """Open a stream with these request headers, its body still to come (client role).

        Raises LinkClosed.
        """
        if self.closed or self.h2.state_machine.state is h2.connection.ConnectionState.CLOSED:
            raise LinkClosed("connection is closed")
        stream = Stream(self, self.h2.get_next_available_stream_id())
        self._streams[stream.id] = stream
        self.h2.send_headers(stream.id, list(headers))
        await self.flush()
        return stream

    def ping(self) -> None:
        """Ask the peer for a sign of life; its answer moves `last_heard`."""
        if not self.closed:
            self.h2.ping(b"laborato")
            self.flush_soon()

    def abort(self) -> None:
        """Cut the connection at once, as a failing network would."""
        # asyncio's TLS transport (3.11) forgets its protocol when it is closed twice, and the
        # peer's end closes it too; abort() would then fail.
        if not self._writer.transport.is_closing():
            self._writer.transport.abort()

    async def close(self) -> None:
        """Say goodbye (GOAWAY) and close; the peer may be doing the same."""
        if not self.closed:
            with contextlib.suppress(LinkClosed, h2.exceptions.ProtocolError):
                self.h2.close_connection()
                await self.flush()
            self._writer.close()

    def acknowledge(self, credit: int, stream_id: int) -> None:
        """Give the peer back `credit` bytes of window."""
        if credit and not self.closed:
            try:
                self.h2.acknowledge_received_data(credit, stream_id)
            except h2.exceptions.ProtocolError:
                return
            self.flush_soon()

    def flush_soon(self) -> None:
        """Hand h2's pending output to the transport without waiting for the socket."""
        if not self.closed and (data := self.h2.data_to_send()):
            self._writer.write(data)

    async def flush(self) -> None:
        """Send h2's pending output and wait until the socket can take more. Raises LinkClosed."""
        if self.closed:
            raise LinkClosed("connection is closed")
        self.flush_soon()
        try:
            async with self._draining:
                await self._writer.drain()
        except OSError as error:
            raise LinkClosed(f"connection failed: {error}") from error

    async def window_opened(self, check: Callable[[], None]) -> None:
        """Wait until the peer has changed any window; `check` raises when waiting is pointless."""
        self._window.clear()
        check()
        await self._window.wait()

    def forget(self, stream_id: int) -> None:
        """Drop a stream that is over in both directions."""
        self._streams.pop(stream_id, None)
        if not self._streams:
            self._idle.set()

    async def idle(self) -> None:
        """Wait until no stream is in progress."""
        while self._streams:
            self._idle.clear()
            await self._idle.wait()

    def _handle(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            stream = Stream(self, event.stream_id)
            self._streams[stream.id] = stream
            stream.feed_headers(_as_dict(event.headers))
            if self._on_stream is not None:
                self._on_stream(stream)
            return
        if isinstance(event, (h2.events.WindowUpdated, h2.events.RemoteSettingsChanged)):
            self._window.set()
            return
        stream_id = getattr(event, "stream_id", None)
        known = self._streams.get(stream_id) if stream_id else None
        if known is None:
            if isinstance(event, h2.events.DataReceived):
                self.acknowledge(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.ResponseReceived):
            known.feed_headers(_as_dict(event.headers))
        elif isinstance(event, h2.events.DataReceived):
            known.feed(event.data, event.flow_controlled_length)
        elif isinstance(event, h2.events.StreamEnded):
            known.feed_end()
        elif isinstance(event, h2.events.StreamReset):
            known.fail(StreamReset(int(event.error_code)))
            self.forget(known.id)
            self._window.set()


def _as_dict(headers: Sequence[tuple[str | bytes, str | bytes]] | None) -> dict[str, str]:
    return {str(name).lower(): str(value) for name, value in headers or ()}
