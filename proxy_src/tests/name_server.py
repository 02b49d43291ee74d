"""A DNS server that answers as the test says, also in ways that no decent server would."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import cast

A, CNAME, AAAA = 1, 5, 28
NXDOMAIN, SERVFAIL, REFUSED = 3, 2, 5
_DATAGRAM = 512
_STREAM = 0xFFFF


@dataclass(frozen=True)
class Record:
    """``owner`` defaults to the name asked for, or to the target of the CNAME before."""

    kind: int
    value: str
    owner: str = ""
    ttl: int = 0


@dataclass(frozen=True)
class Reply:
    """The answer to a question for IPv4 addresses; any other question gets an empty answer.

    ``raw`` replaces the answer's records; a ``foreign`` answer belongs to no question.
    """

    records: tuple[Record, ...] = ()
    code: int = 0
    silent: bool = False
    foreign: bool = False
    raw: bytes = b""


def addresses(*values: str) -> Reply:
    """A name with these IPv4 addresses, in this order."""
    return Reply(tuple(Record(A, value) for value in values))


def chain(*names: str, to: tuple[str, ...]) -> Reply:
    """A CNAME to the first of *names*, from there to the next, and addresses at the last."""
    links = tuple(Record(CNAME, name) for name in names)
    return Reply((*links, *(Record(A, value) for value in to)))


@dataclass
class NameServer:
    """``zone`` has a reply for each name, or several: one after the other, the last for ever."""

    zone: dict[str, list[Reply]] = field(default_factory=dict)
    questions: list[tuple[str, int]] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    def answer(self, query: bytes, limit: int) -> bytes:
        """The answer to the message *query* of at most *limit* bytes; ``b""``: none at all."""
        name, end = _question(query)
        kind = struct.unpack_from("!H", query, end)[0]
        self.questions.append((name, kind))
        self.asked.set()
        replies = self.zone.get(name, [Reply(code=NXDOMAIN)])
        reply = replies[0]
        if kind == A and len(replies) > 1:
            replies.pop(0)
        if reply.silent:
            return b""
        records = reply.records if kind == A else ()
        answers, owner = b"", name
        for record in records:
            answers += _record(record.owner or owner, record)
            if record.kind == CNAME:
                owner = record.value
        answers = reply.raw or answers
        count = len(records) or bool(reply.raw)
        flags = 0x8180 | reply.code
        if end + 4 + len(answers) > limit:
            answers, count, flags = b"", 0, flags | 0x0200
        number = struct.unpack_from("!H", query)[0] ^ (0xFFFF if reply.foreign else 0)
        head = struct.pack("!HHHHHH", number, flags, 1, count, 0, 0)
        return head + query[12 : end + 4] + answers


def _question(query: bytes) -> tuple[str, int]:
    labels, place = [], 12
    while query[place]:
        size = query[place]
        labels.append(query[place + 1 : place + 1 + size].decode("ascii"))
        place += 1 + size
    return ".".join(labels).lower(), place + 1


def _name(text: str) -> bytes:
    labels = [label.encode("latin-1") for label in text.rstrip(".").split(".")]
    return b"".join(bytes([len(label)]) + label for label in labels if label) + b"\0"


def _record(owner: str, record: Record) -> bytes:
    if record.kind == A:
        data = IPv4Address(record.value).packed
    elif record.kind == AAAA:
        data = IPv6Address(record.value).packed
    else:
        data = _name(record.value)
    return _name(owner) + struct.pack("!HHIH", record.kind, 1, record.ttl, len(data)) + data


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: NameServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self._server.answer(data, _DATAGRAM)
        if answer:
            self._transport.sendto(answer, addr)


@contextlib.asynccontextmanager
async def name_server(zone: dict[str, list[Reply]]) -> AsyncIterator[NameServer]:
    """Answer on port 53 of 127.0.0.1, over UDP and TCP."""
    server = NameServer(zone)

    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                size = int.from_bytes(await reader.readexactly(2), "big")
                answer = server.answer(await reader.readexactly(size), _STREAM)
                writer.write(len(answer).to_bytes(2, "big") + answer)
        writer.close()

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Datagrams(server), local_addr=("127.0.0.1", 53)
    )
    listener = await asyncio.start_server(stream, "127.0.0.1", 53)
    try:
        yield server
    finally:
        transport.close()
        listener.close()
        await listener.wait_closed()
