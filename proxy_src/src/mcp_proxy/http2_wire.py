"""The ``h2`` library as the server uses it: our settings, its quirks, and the bytes to be sent."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import Event
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hyperframe.frame import GoAwayFrame

from .http2_head import response_fields
from .http2_queue import ResponseQueue
from .http_rules import Refusal
from .messages import Headers
from .settings import Limits

_STREAM_WINDOW = 1 << 18
"""Bytes of a request's content that may be on the way to an upstream."""
_CONNECTION_WINDOW = 1 << 20
"""The same for all requests of a connection together."""


class _Connection(H2Connection):
    # What the library remembers of streams that are over: enough for frames still on their way.
    MAX_CLOSED_STREAMS = 512


class Http2Wire:
    """One connection's frames. ``responses`` are sent as the client's windows allow.

    The library handles all frames of one read before the first of their events is handled by us,
    so a reset or a GOAWAY may be known to it and not yet to the caller: what is sent on a stream or
    a connection that is closed is dropped without a word.
    """

    def __init__(self, limits: Limits) -> None:
        """Begin the connection, with *limits* on streams and heads."""
        self._h2 = _Connection(
            H2Configuration(
                client_side=False,
                header_encoding=None,
                # What we send was checked when it was parsed.
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self.responses = ResponseQueue(self._h2)
        self._goaways = b""
        self._begin(limits)

    def _begin(self, limits: Limits) -> None:
        def settings(max_streams: int) -> Settings:
            return Settings(
                client=False,
                initial_values={
                    SettingCodes.MAX_CONCURRENT_STREAMS: max_streams,
                    SettingCodes.INITIAL_WINDOW_SIZE: _STREAM_WINDOW,
                    SettingCodes.MAX_HEADER_LIST_SIZE: limits.max_header_bytes,
                },
            )

        self._h2.local_settings = settings(limits.max_streams)
        self._h2.initiate_connection()
        # A client may open more streams before it has read our limit: those are refused one by one
        # instead of ending the connection, as the library would.
        self._h2.local_settings = settings(2 * limits.max_streams + 100)
        self._h2.decoder.max_header_list_size = 2 * limits.max_header_bytes
        self._h2.increment_flow_control_window(_CONNECTION_WINDOW - 65535)

    def receive(self, data: bytes) -> list[Event]:
        """What *data* means. Raises :class:`h2.exceptions.ProtocolError`.

        The GOAWAY with the reason is then in the output.
        """
        return self._h2.receive_data(data)

    def output(self) -> bytes:
        """Fetch what must be sent now."""
        data = self._h2.data_to_send() + self._goaways
        self._goaways = b""
        return data

    def send_fields(self, number: int, fields: Headers) -> None:
        """Send a head on the stream *number*."""
        self._attempt(self._h2.send_headers, number, fields)

    def refuse(self, number: int, refusal: Refusal) -> None:
        """Answer the request on the stream *number*, and take no more of it."""
        body = f"{refusal}\n".encode()
        fields: Headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
        ]
        self.send_fields(number, response_fields(refusal.status, fields))
        # Without a window for these few bytes the reset is all that the client gets.
        self._attempt(self._h2.send_data, number, body, end_stream=True)
        self.reset(number, ErrorCodes.NO_ERROR)

    def reset(self, number: int, code: ErrorCodes) -> None:
        """Give the stream *number* up."""
        self._attempt(self._h2.reset_stream, number, code)

    def acknowledge(self, number: int, size: int) -> None:
        """Open the windows again by *size* bytes of content of the stream *number*."""
        self._attempt(self._h2.acknowledge_received_data, size, number)

    def goaway(self, code: ErrorCodes) -> None:
        """Say that no further request is taken."""
        # Written here because the library would let no stream finish after its own.
        frame = GoAwayFrame(0, self._h2.highest_inbound_stream_id, code)
        self._goaways += frame.serialize()

    def _attempt(self, send: Callable[..., None], *args: Any, **kwargs: Any) -> None:
        with contextlib.suppress(ProtocolError):
            send(*args, **kwargs)
