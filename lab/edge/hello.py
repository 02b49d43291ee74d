"""The host that a client wants: the name in its TLS ClientHello (RFC 6066, section 3)."""

from __future__ import annotations

import asyncio
import ssl

_CHUNK = 1 << 16
_LONGEST = 1 << 16


async def peek(reader: asyncio.StreamReader) -> tuple[bytes, str | None]:
    """Return what the client has sent so far, and the name in its ClientHello.

    The name is None if it sent none, or something that is not TLS.
    """
    names: list[str | None] = []

    def remember(_tls: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> int:
        names.append(name)
        return ssl.ALERT_DESCRIPTION_USER_CANCELLED

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sni_callback = remember
    incoming = ssl.MemoryBIO()
    server = context.wrap_bio(incoming, ssl.MemoryBIO(), server_side=True)
    read = b""
    while len(read) < _LONGEST and (data := await reader.read(_CHUNK)):
        read += data
        incoming.write(data)
        try:
            server.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLError:
            break
    return read, names[0] if names else None
