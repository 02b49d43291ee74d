"""QUIC as far as it matters here: whether UDP reaches the edge, and how late a failure shows.

The stand-in carries everything over HTTP/2. Where the vendor's binary would make a QUIC handshake,
it asks the edge for its QUIC version (RFC 9000 §17.2.1), over an unconnected socket on every
address as that one does, and then calls its HTTP/2 connection QUIC.
"""

from __future__ import annotations

import asyncio
import secrets
import socket

from async_timeout import timeout

from .discovery import Address

#: Vendor behaviour: a handshake is given up after this long without an answer, in seconds.
HANDSHAKE_TIMEOUT = 5.0
_SHORTEST = 1200  # the shortest datagram that a server answers (RFC 9000 §14.1)
_UNKNOWN_VERSION = bytes.fromhex("1a2a3a4a")  # reserved: makes servers name theirs


class DialError(OSError):
    """UDP does not get through to an address of the edge."""


async def dial(address: Address) -> socket.socket:
    """The open socket that reached the edge over UDP; the caller closes it. Raises DialError."""
    loop = asyncio.get_running_loop()
    sock = socket.socket(address.family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.bind(("", 0))
        # Not connected: a refusal by the path (ICMP) looks like silence.
        sock.sendto(_hello(), (address.host, address.port))
        async with timeout(HANDSHAKE_TIMEOUT):
            await loop.sock_recv(sock, 4096)
    except asyncio.TimeoutError:
        sock.close()
        reason = "timeout: no recent network activity"
        raise DialError(f"failed to dial to edge with quic: {reason}") from None
    except OSError as error:
        sock.close()
        raise DialError(f"failed to dial to edge with quic: {error.strerror}") from error
    except BaseException:
        sock.close()
        raise
    return sock


def _hello() -> bytes:
    ids = b"\x08" + secrets.token_bytes(8) + b"\x08" + secrets.token_bytes(8)
    return (b"\xc0" + _UNKNOWN_VERSION + ids).ljust(_SHORTEST, b"\0")
