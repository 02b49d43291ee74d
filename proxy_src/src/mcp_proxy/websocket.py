"""The outermost layer: a byte stream in the binary messages of a WebSocket connection (RFC 6455).

Sans-IO: bytes from the network go into :meth:`WebSocketLayer.receive`, payload comes out; what must
go to the network is fetched with :meth:`WebSocketLayer.output`.
"""

from __future__ import annotations

import http
import logging
from typing import Union

from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

Payload = Union[bytes, bytearray, memoryview]

MAX_FRAME = 1 << 20
"""Largest frame taken, in bytes: the library holds a frame until it is complete."""

MAX_SENT = 1 << 16
"""Largest frame sent, in bytes, so that a peer that waits for whole frames is not held up."""

_DATA = (Opcode.BINARY, Opcode.CONT)
# websockets keeps the size of the message in progress under a name that changed in version 16.
_MESSAGE_SIZE = "current_size" if hasattr(ServerProtocol(), "current_size") else "cur_size"
# At debug the library would log what passes through.
_quiet = logging.getLogger("mcp_proxy.websocket.frames")
_quiet.setLevel(logging.ERROR)


class WebSocketRefused(Exception):
    """The opening handshake was refused; the text says why."""


class _Stream(ServerProtocol):
    """A WebSocket whose messages may be as long as their stream; only frames are bounded."""

    def recv_frame(self, frame: Frame) -> None:
        super().recv_frame(frame)
        if getattr(self, _MESSAGE_SIZE) is not None:
            setattr(self, _MESSAGE_SIZE, 0)


class WebSocketLayer:
    """Server side of one connection. ``closing`` is true once no more payload can pass."""

    def __init__(self, refusal: str = "") -> None:
        """With a *refusal*, any opening handshake is answered 503 with this text."""
        # No extensions: inner TLS does not compress, so permessage-deflate could only cost.
        self._protocol = _Stream(extensions=None, max_size=MAX_FRAME, logger=_quiet)
        self._refusal = refusal
        self._fresh = True
        self._early = b""
        self.open = False
        self.closing = False

    def receive(self, data: bytes) -> list[Payload]:
        """Take *data* from the network; return the payload it completes.

        Raises :class:`WebSocketRefused` if this is no opening handshake that can be accepted; the
        answer is then in :meth:`output` and the connection must be closed after it.
        """
        if self._fresh and data:
            self._fresh = False
            if not (b"A" <= data[:1] <= b"Z"):
                # A TLS client would wait for ever for an answer to its ClientHello, and the
                # library for the end of a line.
                raise self._refused("the listener speaks plain WebSocket; inner TLS goes inside it")
        self._protocol.receive_data(data)
        payload: list[Payload] = []
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._answer(event)
            elif not isinstance(event, Frame):
                continue  # responses are for clients
            elif event.opcode in _DATA:
                payload.append(event.data)
            elif event.opcode is Opcode.TEXT:
                self._protocol.fail(CloseCode.UNSUPPORTED_DATA, "binary messages only")
                break
        if self._protocol.state is OPEN:
            return payload
        if self.open:
            if not self.closing:
                self.closing = True
                return payload
        elif self._protocol.eof_sent:
            raise self._refused("not a WebSocket opening handshake")
        return []

    def _answer(self, request: Request) -> None:
        if self._refusal:
            response = self._protocol.reject(
                http.HTTPStatus.SERVICE_UNAVAILABLE, f"{self._refusal}\n"
            )
        else:
            response = self._protocol.accept(request)
        self._protocol.send_response(response)
        self.open = self._protocol.state is OPEN

    def _refused(self, reason: str) -> WebSocketRefused:
        self.closing = True
        self._early = b"".join(self._protocol.data_to_send())
        if not self._early:
            body = f"{reason}\n".encode()
            self._early = (
                b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n"
                b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n\r\n%b"
            ) % (len(body), body)
        return WebSocketRefused(reason)

    def send(self, data: bytes) -> None:
        """Send *data* as binary messages. Ignored once :attr:`closing`."""
        if self.closing or not self.open:
            return
        if len(data) <= MAX_SENT:
            self._protocol.send_binary(data)
            return
        view = memoryview(data)
        for start in range(0, len(data), MAX_SENT):
            self._protocol.send_binary(view[start : start + MAX_SENT])

    def close(self, code: CloseCode = CloseCode.NORMAL_CLOSURE) -> None:
        """Start the closing handshake with status *code* (RFC 6455 §7.4.1), once."""
        if self.open and self._protocol.state is OPEN:
            self._protocol.send_close(code)
            self.closing = True

    @property
    def closed(self) -> bool:
        """Whether the TCP connection can be closed: both close frames are through, or it failed."""
        return self._protocol.eof_sent

    def output(self) -> bytes:
        """What must be sent to the network now."""
        chunks = [self._early] if self._early else []
        self._early = b""
        chunks += [chunk for chunk in self._protocol.data_to_send() if chunk]
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)
