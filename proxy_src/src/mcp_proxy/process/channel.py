"""The control channel of supervisor and worker on an event loop; control.py has the messages."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, cast

from .control import Message, MessageDecoder, encode_message


class Channel(asyncio.Protocol):
    """One end of the channel."""

    def __init__(self, on_message: Callable[[Message], None], on_close: Callable[[], None]) -> None:
        """*on_close* is called once, when the other side is gone or talks nonsense."""
        self._on_message = on_message
        self._on_close = on_close
        self._decoder = MessageDecoder()
        self._transport: asyncio.Transport | None = None

    async def connect(self, sock: socket.socket) -> None:
        """Talk over *sock*, one of a socketpair(2)."""
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: self, sock=sock)

    def send(self, kind: str, **fields: Any) -> None:
        """Send a message; nothing happens if the other side is gone."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(encode_message(kind, **fields))

    def descriptor(self) -> int:
        """Return the socket's descriptor, -1 if nobody could go on with it.

        Then it is closed, or the other side has not taken, or not given, a whole message.
        """
        transport = self._transport
        if transport is None or transport.is_closing() or self._decoder.within:
            return -1
        if transport.get_write_buffer_size():
            return -1
        return int(transport.get_extra_info("socket").fileno())

    async def flush(self) -> None:
        """Wait until what was sent is on its way, or the other side is gone."""
        transport = self._transport
        while transport is not None and not transport.is_closing():
            if not transport.get_write_buffer_size():
                return
            await asyncio.sleep(0.01)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See :class:`asyncio.BaseProtocol`."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """See :class:`asyncio.Protocol`."""
        for message in self._decoder.feed(data):
            self._on_message(message)

    def connection_lost(self, exc: Exception | None) -> None:
        """See :class:`asyncio.BaseProtocol`."""
        self._transport = None
        self._on_close()
