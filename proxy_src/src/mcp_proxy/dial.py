"""Connections to upstreams: name resolution, address validation, TCP and TLS.

Every address that a name resolves to must be allowed, and what is then dialled is one of those
very addresses, so no second answer of the name server can lead elsewhere.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import TypeVar

from .certificates import upstream_context
from .settings import Upstream, UpstreamPolicy

_ProtocolT = TypeVar("_ProtocolT", bound=asyncio.Protocol)


class DialError(Exception):
    """No connection to the upstream.

    ``status`` is for the client, ``public`` its text; ``reason`` is a word from a fixed list
    (``validation``, ``dns``, ``refused``, ``unreachable``, ``tls``, ``timeout``) for metrics.
    The text itself is for the log.
    """

    def __init__(self, status: int, reason: str, public: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.reason = reason
        self.public = public


class Dialer:
    """Opens connections to upstreams according to one policy."""

    def __init__(self, policy: UpstreamPolicy, connect_timeout: float) -> None:
        """Give up after *connect_timeout* seconds for everything together.

        Raises :class:`certificates.CertificateError`.
        """
        self._allowed = None if policy.disable_ip_validation else policy.allowed_ips
        self._timeout = connect_timeout
        self._tls = upstream_context(policy)

    async def connect(self, upstream: Upstream, factory: Callable[[], _ProtocolT]) -> _ProtocolT:
        """Connect to *upstream*; *factory* makes the protocol. Raises :class:`DialError`."""
        try:
            return await asyncio.wait_for(self._connect(upstream, factory), self._timeout)
        except asyncio.TimeoutError:
            raise DialError(
                504,
                "timeout",
                "Upstream did not accept the connection in time",
                f"no connection within {self._timeout:g} s",
            ) from None

    async def _connect(self, upstream: Upstream, factory: Callable[[], _ProtocolT]) -> _ProtocolT:
        loop = asyncio.get_running_loop()
        addresses = await self._resolve(loop, upstream)
        self._validate(addresses)
        secure = upstream.scheme == "https"
        failure: OSError | None = None
        for address in addresses:
            try:
                made = await loop.create_connection(
                    factory,
                    address,
                    upstream.port,
                    family=socket.AF_INET,
                    ssl=self._tls if secure else None,
                    # SNI and verification go by the name, whatever address was dialled.
                    server_hostname=upstream.host if secure else None,
                )
            except ssl.SSLError as error:
                raise _tls_error(error) from error
            except OSError as error:
                failure = error
            else:
                return made[1]
        raise _os_error(failure, addresses)

    async def _resolve(self, loop: asyncio.AbstractEventLoop, upstream: Upstream) -> list[str]:
        try:
            found = await loop.getaddrinfo(
                upstream.host, upstream.port, family=socket.AF_INET, type=socket.SOCK_STREAM
            )
        except (OSError, UnicodeError) as error:
            raise DialError(
                502,
                "dns",
                "Upstream name cannot be resolved",
                f"cannot resolve {upstream.host}: {error}",
            ) from error
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    def _validate(self, addresses: list[str]) -> None:
        if self._allowed is None:
            return
        for text in addresses:
            address = IPv4Address(text)
            if not any(address in network for network in self._allowed):
                raise DialError(
                    502,
                    "validation",
                    "Upstream IP validation failed",
                    f"IP validation failed: {text} is not a private address",
                )


def _tls_error(error: ssl.SSLError) -> DialError:
    detail = getattr(error, "verify_message", "") or error.reason or str(error)
    return DialError(502, "tls", "Upstream TLS handshake failed", f"upstream TLS: {detail}")


def _os_error(error: OSError | None, addresses: list[str]) -> DialError:
    tried = ", ".join(addresses)
    if isinstance(error, ConnectionRefusedError):
        return DialError(502, "refused", "Upstream refused the connection", f"refused by {tried}")
    # asyncio wraps errno in words of its own.
    detail = os.strerror(error.errno) if error is not None and error.errno else str(error)
    return DialError(
        502, "unreachable", "Upstream cannot be reached", f"cannot reach {tried}: {detail}"
    )
