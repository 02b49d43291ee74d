"""Whether the proxy behind a connector shows a certificate under a registered CA.

Clients do the inner TLS handshake themselves, and the edge sees only ciphertext. Anthropic's
backend verifies; so the edge first does a handshake of its own through the same connector, and
lets the client through only if that succeeds.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from dataclasses import dataclass, field

from ..tunnels_api.state import Tunnel
from .channel import Channel, Unanswered
from .connectors import Connection

#: A verdict holds this long, in seconds: a new or archived CA takes effect after that.
_HOLDS = 1.0
_TIMEOUT = 30.0


class Untrusted(Exception):
    """No inner TLS under a registered CA."""


@dataclass
class Trust:
    """Verdicts by connection, CAs and host name."""

    _verdicts: dict[object, tuple[float, asyncio.Task[None]]] = field(default_factory=dict)

    async def check(self, connection: Connection, tunnel: Tunnel, host: str) -> None:
        """Raise Untrusted, Unanswered or ConnectionError unless clients for `host` may pass."""
        if tunnel["any_ca"]:
            return
        active = [each for each in tunnel["certificates"] if each["archived_at"] is None]
        if not active:
            raise Untrusted(f"tunnel {tunnel['id']} has no registered CA")
        key = (connection.id, tuple(each["id"] for each in active), host)
        moment = time.monotonic()
        self._verdicts = {
            known: verdict
            for known, verdict in self._verdicts.items()
            if moment - verdict[0] < _HOLDS
        }
        if key not in self._verdicts:
            context = ssl.create_default_context(cadata="\n".join(e["pem"] for e in active))
            task = asyncio.create_task(_probe(connection, tunnel["domain"], host, context))
            self._verdicts[key] = (moment, task)
        # Shielded because others wait for the same verdict.
        await asyncio.shield(self._verdicts[key][1])


async def _probe(connection: Connection, domain: str, host: str, context: ssl.SSLContext) -> None:
    try:
        async with asyncio.timeout(_TIMEOUT):
            channel = await Channel.open(connection, domain)
            try:
                await _handshake(channel, host, context)
            finally:
                channel.reset()
    except ssl.SSLCertVerificationError as error:
        raise Untrusted(
            f"{connection}: the certificate for {host} is not under a registered CA: "
            f"{error.verify_message}"
        ) from None
    except ssl.SSLError as error:
        raise Untrusted(f"{connection}: no inner TLS for {host}: {error.reason}") from None
    except TimeoutError:
        raise Unanswered(f"{connection}: no inner TLS within {_TIMEOUT:.0f} s") from None


async def _handshake(channel: Channel, host: str, context: ssl.SSLContext) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=host)
    try:
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await channel.send(outgoing.read())
                if not (data := await channel.receive()):
                    raise Unanswered(f"the proxy ended the inner TLS for {host}") from None
                incoming.write(data)
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.unwrap()
    finally:
        # The end of the handshake, or the reason for its failure: the proxy logs it.
        if outgoing.pending:
            await channel.send(outgoing.read())
        await channel.end()
