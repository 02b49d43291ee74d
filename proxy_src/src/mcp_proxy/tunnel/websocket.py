"""The outermost layer: a byte stream in the binary messages of a WebSocket connection (RFC 6455).

Sans-IO: bytes from the network go into :meth:`WebSocketLayer.receive`, payload comes out; bytes for
the network come out of :meth:`WebSocketLayer.output`. :mod:`ws_opening` answers the usual opening
handshake, the ``websockets`` library any other one, :mod:`ws_frames` does the rest.
"""

from __future__ import annotations

import http
import logging
from typing import Final

from websockets.exceptions import ProtocolError
from websockets.frames import Close, CloseCode, Opcode
from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from .ws_frames import MAX_FRAME, Buffer, WebSocketFrameReader, websocket_frame_header
from .ws_opening import usual_answer

__all__ = ["MAX_FRAME", "MAX_SENT", "WebSocketLayer", "WebSocketRefused"]

MAX_SENT: Final = (1 << 16) + (1 << 9)
"""Largest frame sent, in bytes, so that a peer that waits for whole frames is not held up: 64 KiB,
and what TLS adds to them."""

_HEAD_END: Final = b"\r\n\r\n"
# At debug the library would log the data that passes through.
_quiet = logging.getLogger("mcp_proxy.websocket.frames")
_quiet.setLevel(logging.ERROR)


class WebSocketRefused(Exception):
    """The opening handshake was refused; the text says why."""


class WebSocketLayer:
    """Server side of one connection.

    ``open`` says whether the opening handshake is through; ``closing`` is true once no more payload
    can pass; ``closed`` once the TCP connection can be closed: both close frames are through, or
    the WebSocket has failed. ``unsent`` is empty if :meth:`output` would return nothing.
    ``frames.behind`` says whether :meth:`receive` has stopped before the end of what has come.
    """

    def __init__(self, refusal: str = "") -> None:
        """With a *refusal*, any opening handshake is answered 503 with this text."""
        self._opening: _Opening | None = _Opening(refusal)
        self.frames = WebSocketFrameReader()
        self.unsent: list[bytes] = []
        self.open = False
        self.closing = False
        self.closed = False

    def free(self) -> None:
        """Free everything at once: the connection is lost."""
        if self._opening is not None:
            self._opening.free()

    def receive(self, data: Buffer, most: int = 1 << 30) -> list[bytes]:
        """Take *data* from the network; return the payload in it, or in *most* frames of it.

        Raises :class:`WebSocketRefused` if this is no opening handshake that can be accepted; the
        answer is then in :meth:`output` and the connection must be closed after it.
        """
        if self._opening is not None:
            data = self._open(self._opening, bytes(data))
            if not self.open:
                return []
        was_closing = self.closing
        frames = self.frames
        payload = frames.feed(data, most)
        if frames.controls:
            self._take_controls(frames)
        if frames.failure is not None and not self.closed:
            self._fail(frames.failure)
        return [] if was_closing else payload

    def _open(self, opening: _Opening, data: bytes) -> bytes:
        try:
            rest = opening.receive(data)
        except WebSocketRefused:
            self.closing = self.closed = True
            raise
        finally:
            self.unsent.append(opening.output())
        if opening.accepted:
            self.open = True
            self._opening = None
        return rest

    def _take_controls(self, frames: WebSocketFrameReader) -> None:
        controls, frames.controls = frames.controls, []
        for opcode, payload in controls:
            if opcode == Opcode.PING:
                self._send_control(Opcode.PONG, payload)
            elif opcode == Opcode.CLOSE:
                self._close_received(payload)

    def _close_received(self, payload: bytes) -> None:
        try:
            Close.parse(payload)
            if self.frames.continued:
                raise ProtocolError("closed in the middle of a message")
        except ProtocolError:
            self._fail(CloseCode.PROTOCOL_ERROR)
        except UnicodeDecodeError:
            self._fail(CloseCode.INVALID_DATA)
        else:
            if not self.closing:
                self._send_control(Opcode.CLOSE, payload)
            self.closing = self.closed = True

    def _fail(self, code: CloseCode) -> None:
        """Fail the connection (RFC 6455 §7.1.7) and ignore everything that follows."""
        self.close(code)
        self.closed = True

    def send(self, data: bytes) -> None:
        """Send *data* as binary messages. Ignored once :attr:`closing`."""
        if self.closing or not self.open:
            return
        size = len(data)
        if size <= MAX_SENT:
            self.unsent += (websocket_frame_header(size), data)
            return
        for start in range(0, size, MAX_SENT):
            part = data[start : start + MAX_SENT]
            self.unsent += (websocket_frame_header(len(part)), part)

    def ping(self) -> None:
        """Ask the peer for a sign of life; the answer itself does not matter."""
        if self.open and not self.closing:
            self._send_control(Opcode.PING, b"")

    def close(self, code: CloseCode = CloseCode.NORMAL_CLOSURE) -> None:
        """Start the closing handshake with status *code* (RFC 6455 §7.4.1), once."""
        if self.open and not self.closing:
            self._send_control(Opcode.CLOSE, Close(code, "").serialize())
            self.closing = True

    def _send_control(self, opcode: Opcode, payload: bytes) -> None:
        self.unsent += (websocket_frame_header(len(payload), 0x80 | opcode), payload)

    def output(self) -> bytes:
        """Return the bytes to send to the network now."""
        return b"".join(self.pieces())

    def pieces(self) -> list[bytes]:
        """The same, in pieces."""
        unsent, self.unsent = self.unsent, []
        return unsent


class _Opening:
    """The opening handshake: one HTTP request and its answer."""

    def __init__(self, refusal: str) -> None:
        self._protocol: ServerProtocol | None = None  # made for what is not the usual
        self._refusal = refusal
        self._last = b""  # the end of what has come, in which the head's end may begin
        self._out = b""
        self.accepted = False

    def receive(self, data: bytes) -> bytes:
        """Take *data*; return the part after the request. Raises :class:`WebSocketRefused`."""
        if data and not self._last and not (b"A" <= data[:1] <= b"Z"):
            # A TLS client would wait for ever for an answer to its ClientHello, and the library
            # for the end of a line.
            raise self._refused("the listener speaks plain WebSocket; inner TLS goes inside it")
        seen = self._last + data
        end = seen.find(_HEAD_END)
        # Not a byte more: the library would keep the bytes that follow.
        mine = len(data) if end < 0 else end + len(_HEAD_END) - len(self._last)
        self._last = seen[1 - len(_HEAD_END) :]
        if self._protocol is None and end >= 0 and not self._refusal:
            self._out = usual_answer(data[:mine])
            self.accepted = bool(self._out)
        if not self.accepted:
            self._judge(data[:mine])
        return data[mine:]

    def _judge(self, data: bytes) -> None:
        protocol = self._protocol
        if protocol is None:
            # No extensions: inner TLS does not compress, so permessage-deflate could only cost.
            self._protocol = protocol = ServerProtocol(extensions=None, logger=_quiet)
        protocol.receive_data(data)
        for event in protocol.events_received():
            if isinstance(event, Request):
                self._answer(protocol, event)
        if protocol.eof_sent:
            raise self._refused("not a WebSocket opening handshake")

    def _answer(self, protocol: ServerProtocol, request: Request) -> None:
        if self._refusal:
            response = protocol.reject(http.HTTPStatus.SERVICE_UNAVAILABLE, f"{self._refusal}\n")
        else:
            response = protocol.accept(request)
        protocol.send_response(response)
        self.accepted = protocol.state is OPEN
        if self.accepted:
            self._out = b"".join(protocol.data_to_send())
            self.free()

    def free(self) -> None:
        """Stop, and break the library's reference cycles, which run through stack frames."""
        protocol = self._protocol
        if protocol is None:
            return
        protocol.parser.close()
        for failure in (protocol.handshake_exc, protocol.parser_exc):
            if failure is not None:
                failure.__traceback__ = None

    def _refused(self, reason: str) -> WebSocketRefused:
        self._out = b"" if self._protocol is None else b"".join(self._protocol.data_to_send())
        if self._out[9:12] in (b"414", b"431"):
            reason = "more than 128 header fields, or a line of more than 8 kB"
        if not self._out:
            body = f"{reason}\n".encode()
            self._out = (
                b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n"
                b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n\r\n%b"
            ) % (len(body), body)
        return WebSocketRefused(reason)

    def output(self) -> bytes:
        """The answer, once."""
        out, self._out = self._out, b""
        return out
