"""Frames from an HTTP/2 client (RFC 9113 §6): what may come when, and what it means."""

from __future__ import annotations

from typing import Final, Protocol

from .frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    ConnectionFault,
    ErrorCode,
    FrameReader,
    StreamFault,
    protocol_error,
    unpadded,
    word,
)
from .head import Field, interpret
from .hpack import Decoder
from .patience import Patience
from .settings import client_settings

_REQUEST_EARNS: Final = 20
"""Frames without use that a client may send with each request."""


class InputUser(Protocol):
    """The receiver of frames. Any method may raise the two kinds of fault."""

    def fields_came(self, number: int, fields: list[Field], size: int, ended: bool) -> None:
        """A field section of the stream *number*, *size* bytes as of RFC 9113 §10.5.1."""

    def content_came(self, number: int, data: bytes, size: int, ended: bool) -> None:
        """Content of the stream *number*, *size* bytes of it counting for flow control."""

    def reset_came(self, number: int) -> None:
        """The client gives the stream *number* up."""

    def window_came(self, number: int, increment: int) -> None:
        """The client takes more of the stream *number*, or of all (0)."""

    def settings_came(self, values: dict[int, int]) -> None:
        """The client's settings, valid ones."""

    def settings_acknowledged(self) -> None:
        """The client knows ours."""

    def ping_came(self, payload: bytes) -> None:
        """To be answered."""

    def goaway_came(self, code: int) -> None:
        """The client opens no more streams."""

    def stream_failed(self, number: int, code: ErrorCode) -> None:
        """A frame of the stream *number* was not as it must be."""


class _Block:
    """A field section of which frames are still to come."""

    def __init__(self, number: int, ended: bool, start: bytes) -> None:
        self.number = number
        self.ended = ended
        self.parts = [start]
        self.size = len(start)


class Http2Input:
    """The client's side of a connection."""

    def __init__(self, user: InputUser, max_header_bytes: int) -> None:
        """Hand input to *user*. A head up to twice *max_header_bytes* can be refused alone."""
        self._user = user
        self._max_block = 2 * max_header_bytes
        self._reader = FrameReader()
        self._decoder: Decoder[Field] = Decoder(interpret, self._max_block)
        self._block: _Block | None = None
        self._greeted = False
        self.patience = Patience("frames without use", 1000, 50)

    @property
    def unfinished(self) -> int:
        """Bytes of a field section of which frames are still to come."""
        return 0 if self._block is None else self._block.size

    def receive(self, data: bytes) -> None:
        """Parse *data*. Raises :class:`ConnectionFault`; the connection is then over."""
        for kind, flags, number, payload in self._reader.feed(data):
            if self._block is not None and (kind != CONTINUATION or number != self._block.number):
                raise protocol_error("field section interrupted")
            if not self._greeted:
                if kind != SETTINGS or flags & ACK:
                    raise protocol_error("SETTINGS must come first")
                self._greeted = True
            handler = _HANDLERS.get(kind)
            if handler is None:
                self.patience.spend()
                continue
            try:
                handler(self, flags, number, payload)
            except StreamFault as fault:
                self._user.stream_failed(number, fault.code)

    # -- frames of a stream ------------------------------------------------------------------

    def _data(self, flags: int, number: int, payload: bytes) -> None:
        size = len(payload)
        if flags & PADDED:
            payload = unpadded(payload)
        if payload:
            self.patience.earn(1)
        elif not flags & END_STREAM:
            self.patience.spend()
        self._user.content_came(number, payload, size, bool(flags & END_STREAM))

    def _headers(self, flags: int, number: int, payload: bytes) -> None:
        if not number & 1:
            raise protocol_error("not a stream of a client")
        if flags & PADDED:
            payload = unpadded(payload)
        if flags & WITH_PRIORITY:
            _check_priority(number, payload[:5])
            payload = payload[5:]
        ended = bool(flags & END_STREAM)
        if flags & END_HEADERS:
            self._fields(number, payload, ended)
        else:
            self._block = _Block(number, ended, payload)

    def _continuation(self, flags: int, number: int, payload: bytes) -> None:
        block = self._block
        if block is None:
            raise protocol_error("CONTINUATION of nothing")
        self.patience.spend()
        block.parts.append(payload)
        block.size += len(payload)
        if block.size > self._max_block:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "field section too large")
        if flags & END_HEADERS:
            self._block = None
            self._fields(number, b"".join(block.parts), block.ended)

    def _fields(self, number: int, block: bytes, ended: bool) -> None:
        fields, size = self._decoder.decode(block)
        if fields:
            self.patience.earn(_REQUEST_EARNS)
        else:
            self.patience.spend()
        self._user.fields_came(number, fields, size, ended)

    def _priority(self, flags: int, number: int, payload: bytes) -> None:
        if not number:
            raise protocol_error("PRIORITY of no stream")
        self.patience.spend()
        if len(payload) != 5:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "PRIORITY of a wrong size")
        _check_priority(number, payload)

    def _rst_stream(self, flags: int, number: int, payload: bytes) -> None:
        self.patience.spend()
        word(payload)
        self._user.reset_came(number)

    def _push_promise(self, flags: int, number: int, payload: bytes) -> None:
        raise protocol_error("PUSH_PROMISE of a client")

    def _window_update(self, flags: int, number: int, payload: bytes) -> None:
        self.patience.spend()
        increment = word(payload)
        if not increment:
            if number:
                raise StreamFault(ErrorCode.PROTOCOL_ERROR)
            raise protocol_error("window increment of 0")
        self._user.window_came(number, increment)

    # -- frames of the connection ------------------------------------------------------------

    def _settings(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise protocol_error("SETTINGS of a stream")
        if flags & ACK:
            if payload:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "acknowledgement with content")
            self._user.settings_acknowledged()
            return
        self.patience.spend()
        self._user.settings_came(client_settings(payload))

    def _ping(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise protocol_error("PING of a stream")
        self.patience.spend()
        if len(payload) != 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "PING of a wrong size")
        if not flags & ACK:
            self._user.ping_came(payload)

    def _goaway(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise protocol_error("GOAWAY of a stream")
        if len(payload) < 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY of a wrong size")
        self._user.goaway_came(int.from_bytes(payload[4:8], "big"))


_HANDLERS: Final = {
    DATA: Http2Input._data,
    HEADERS: Http2Input._headers,
    PRIORITY: Http2Input._priority,
    RST_STREAM: Http2Input._rst_stream,
    SETTINGS: Http2Input._settings,
    PUSH_PROMISE: Http2Input._push_promise,
    PING: Http2Input._ping,
    GOAWAY: Http2Input._goaway,
    WINDOW_UPDATE: Http2Input._window_update,
    CONTINUATION: Http2Input._continuation,
}


def _check_priority(number: int, payload: bytes) -> None:
    """Priorities are not used (RFC 9113 §5.3.2); nonsense in them is still an error."""
    if len(payload) != 5:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "no room for the priority")
    if int.from_bytes(payload[:4], "big") & 0x7FFFFFFF == number:
        raise protocol_error("stream depends on itself")
