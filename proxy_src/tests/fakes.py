"""Stand-ins for the neighbours of an HTTP layer, so that it can be tested alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from hypothesis import strategies as st
from mcp_proxy.http.messages import ClientStream, Headers, RequestHead, ResponseHead


class FakeConnection:
    """Remembers whether it was woken, and whether the connection was given up."""

    def __init__(self) -> None:
        self.aborted = False
        self.woken = False
        self.scarce = False

    def wake(self) -> None:
        self.woken = True

    def abort(self) -> None:
        self.aborted = True


class FakeHandler:
    """Collects a request; answers it at its end if *answer* is set."""

    def __init__(self, head: RequestHead, stream: ClientStream, answer: bytes | None) -> None:
        self.head = head
        self.stream = stream
        self.answer = answer
        self.body = b""
        self.trailers: Headers | None = None
        self.gone = False
        self.paused = False
        self.ticks = 0

    def request_body(self, data: bytes) -> None:
        self.body += data

    def request_end(self, trailers: Headers) -> None:
        self.trailers = trailers
        if self.answer is not None:
            self.reply(self.answer)

    def reply(self, body: bytes, status: int = 200, length: int | None = -1) -> None:
        """Send a whole response; *length* ``None`` means of unknown length."""
        size = len(body) if length == -1 else length
        self.stream.send_head(ResponseHead(status, [(b"X-Answer", b"yes")], size))
        self.stream.send_body(body)
        self.stream.send_end([])

    def client_gone(self) -> None:
        self.gone = True

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def tick(self, now: float) -> None:
        self.ticks += 1


class Requests(list):  # type: ignore[type-arg]
    """An ``on_request`` that keeps the handlers; *answer* as in :class:`FakeHandler`.

    With ``hold`` set, a request's content is not taken.
    """

    def __init__(self, answer: bytes | None = None) -> None:
        super().__init__()
        self.answer = answer
        self.hold = False

    def __call__(self, head: RequestHead, stream: ClientStream) -> FakeHandler:
        handler = FakeHandler(head, stream, self.answer)
        if self.hold:
            stream.hold()
        self.append(handler)
        return handler


def cuts(data: bytes, places: Iterable[int]) -> list[bytes]:
    """*data* cut at the given *places* (taken modulo its length)."""
    at = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[a:b] for a, b in zip(at, at[1:])]


PLACES = st.lists(st.integers(0, 100_000), max_size=12)
"""A strategy for :func:`cuts`."""


def feed(receive: Callable[[bytes], object], parts: Iterable[bytes]) -> None:
    """Pass *parts* to *receive*, one after the other."""
    for part in parts:
        if part:
            receive(part)


def deliver(protocol: asyncio.BufferedProtocol, data: bytes) -> None:
    """Hand *data* to *protocol* as event loops do: in reads of the size that it asks for."""
    while data:
        buffer = protocol.get_buffer(-1)
        size = min(len(buffer), len(data))
        buffer[:size] = data[:size]
        protocol.buffer_updated(size)
        data = data[size:]
