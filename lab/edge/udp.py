"""Answers on the edge's UDP port, so that a connector learns whether UDP gets through.

A version negotiation (RFC 9000 §17.2.1) for every long header of another version, and nothing else:
the laboratory's edge carries nothing over QUIC.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_LONG_HEADER = 0x80
_SHORTEST = 1200
_VERSION = (1).to_bytes(4, "big")


class VersionNegotiation(asyncio.DatagramProtocol):
    """Names QUIC version 1 to peers that ask with another version, while `heard` is true."""

    def __init__(self, heard: Callable[[], bool]) -> None:
        self._heard = heard

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        """See asyncio.BaseProtocol."""
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """See asyncio.DatagramProtocol."""
        answer = negotiation(data) if self._heard() else None
        if answer:
            self._transport.sendto(answer, addr)


def negotiation(data: bytes) -> bytes | None:
    """The answer to a datagram; None if it gets no answer."""
    if len(data) < _SHORTEST or not data[0] & _LONG_HEADER or data[1:5] == _VERSION:
        return None
    destination = data[6 : 6 + data[5]]
    rest = data[6 + data[5] :]
    source = rest[1 : 1 + rest[0]]
    ids = bytes([len(source)]) + source + bytes([len(destination)]) + destination
    return bytes([_LONG_HEADER]) + bytes(4) + ids + _VERSION
