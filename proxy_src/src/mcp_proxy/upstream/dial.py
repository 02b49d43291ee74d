"""Connections to upstreams: name resolution, address validation, TCP and TLS.

Every address that a name resolves to must be allowed. The proxy then dials one of those very
addresses, so no second answer of the name server can lead elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import os
import socket
import ssl
import threading
from collections.abc import Callable
from ipaddress import AddressValueError, IPv4Address
from typing import TypeVar

from ..config.model import Upstream, UpstreamPolicy
from ..system import descriptors, keepalive
from ..tls.contexts import upstream_context
from .tls import UpstreamTls

#: Part of the time to connect that each address of a name gets at least. A name with hundreds of
#: addresses would else leave some milliseconds to each, too few for a busy machine.
_LEAST_SHARE = 1 / 16

#: Types of RFC 9209 §2.3 by what the system says; EMFILE is the proxy's own shortage.
_UNREACHABLE = {
    errno.ENETUNREACH: "destination_ip_unroutable",
    errno.EHOSTUNREACH: "destination_ip_unroutable",
    errno.ECONNRESET: "connection_terminated",
    errno.EMFILE: "proxy_internal_error",
}

_ProtocolT = TypeVar("_ProtocolT", bound=asyncio.BufferedProtocol)


class DialError(Exception):
    """No connection to the upstream.

    ``status`` is for the client, ``public`` its text, ``error`` its type (RFC 9209 §2.3);
    ``reason`` is a word from a shorter list (``validation``, ``dns``, ``refused``, ``unreachable``,
    ``tls``, ``timeout``) for metrics. The text itself is for the log.
    """

    def __init__(self, status: int, reason: str, error: str, public: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.reason = reason
        self.error = error
        self.public = public


class Resolver:
    """IPv4 addresses of names, from the system's resolver.

    A name server that is gone keeps a look-up busy for half a minute. So each look-up has a thread
    of its own, in which it holds up neither other names nor the end of the process. A second
    request for the same name waits for the same answer, so there are no more threads than names.
    """

    def __init__(self) -> None:
        self._running: dict[str, asyncio.Future[list[str]]] = {}

    async def addresses(self, host: str) -> list[str]:
        """The addresses of *host*, in the resolver's order. Raises :class:`OSError`."""
        running = self._running.get(host)
        if running is None:
            running = self._running[host] = asyncio.get_running_loop().create_future()
            running.add_done_callback(lambda done: self._forget(host, done))
            try:
                threading.Thread(target=_look_up, args=(host, running), daemon=True).start()
            except RuntimeError as error:  # the service has as many as it may (TasksMax=)
                running.set_exception(OSError(str(error)))
        return await asyncio.shield(running)

    def _forget(self, host: str, done: asyncio.Future[list[str]]) -> None:
        del self._running[host]
        done.exception()  # retrieve it, or asyncio logs "never retrieved"


def _look_up(host: str, answer: asyncio.Future[list[str]]) -> None:
    loop = answer.get_loop()
    report: Callable[[], object]
    try:
        found = socket.getaddrinfo(host, None, family=socket.AF_INET, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        report = functools.partial(answer.set_exception, error)
    else:
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        report = functools.partial(answer.set_result, addresses)
    with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
        loop.call_soon_threadsafe(report)


class Dialer:
    """Opens connections to upstreams according to one policy."""

    def __init__(
        self, policy: UpstreamPolicy, connect_timeout: float, gone_after: float = 60.0
    ) -> None:
        """Give up after *connect_timeout* seconds for everything together.

        A machine that is gone can be recognised *gone_after* seconds later. Both are for upstreams
        without timeouts of their own.

        Raises :class:`tls.certificates.CertificateError`.
        """
        self._allowed = None if policy.disable_ip_validation else policy.allowed_ips
        self._timeout = connect_timeout
        self._gone_after = gone_after
        self._tls = upstream_context(policy)
        self._resolver = Resolver()

    async def connect(self, upstream: Upstream, factory: Callable[[], _ProtocolT]) -> _ProtocolT:
        """Connect to *upstream*; *factory* makes the protocol. Raises :class:`DialError`."""
        loop = asyncio.get_running_loop()
        own = upstream.timeouts
        timeout = self._timeout if own is None else own.connect
        deadline = loop.time() + timeout
        addresses = await self._resolve(upstream.host, timeout)
        self._validate(addresses)
        failure: DialError | None = None
        for position, address in enumerate(addresses):
            # Each address has its share: a silent one must not keep the others from being tried.
            left = deadline - loop.time()
            if left <= 0:
                break
            share = max(left / (len(addresses) - position), timeout * _LEAST_SHARE)
            try:
                dialling = self._dial(upstream, address, factory)
                return await asyncio.wait_for(dialling, min(share, left))
            except asyncio.TimeoutError:
                failure = _overdue(timeout)
            except ssl.SSLError as error:
                failure = _tls_error(error)
                _part(error)
                break
            except OSError as error:
                failure = _os_error(error, addresses)
                _part(error)
        try:
            raise failure or _overdue(timeout)
        finally:
            del failure  # for the same reason as in _part()

    async def _dial(
        self, upstream: Upstream, address: str, factory: Callable[[], _ProtocolT]
    ) -> _ProtocolT:
        if descriptors.short():
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        secure = upstream.scheme == "https"
        protocol = factory()
        # SNI and verification go by the name, whatever address was dialled.
        tls = UpstreamTls(protocol, self._tls, upstream.host) if secure else None
        try:
            transport, _protocol = await asyncio.get_running_loop().create_connection(
                lambda: tls or protocol, address, upstream.port, family=socket.AF_INET
            )
            # Lost already? Then it has no socket: None with uvloop, a closed one with asyncio.
            lost = transport.is_closing()
            if not lost:
                own = upstream.timeouts
                gone_after = self._gone_after if own is None else own.upstream_gone
                keepalive.watch(transport.get_extra_info("socket"), gone_after)
            if tls is not None:
                await tls.ready  # or the reason of the loss
            elif lost:
                raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        except asyncio.CancelledError:
            if tls is not None:
                tls.abort()
            raise
        return protocol

    async def _resolve(self, host: str, timeout: float) -> list[str]:
        with contextlib.suppress(AddressValueError):
            return [str(IPv4Address(host))]
        try:
            return await asyncio.wait_for(self._resolver.addresses(host), timeout)
        except asyncio.TimeoutError:
            raise _overdue(timeout, "dns_timeout") from None
        except (OSError, UnicodeError) as error:
            here = isinstance(error, OSError) and error.errno is None  # there was no thread for it
            raise DialError(
                502,
                "dns",
                "proxy_internal_error" if here else "dns_error",
                "Upstream name cannot be resolved",
                f"cannot resolve {host}: {error}",
            ) from error

    def _validate(self, addresses: list[str]) -> None:
        if self._allowed is None:
            return
        for text in addresses:
            address = IPv4Address(text)
            if not any(address in network for network in self._allowed):
                raise DialError(
                    502,
                    "validation",
                    "destination_ip_prohibited",
                    "Upstream IP validation failed",
                    f"IP validation failed: {text} is not a private address",
                )


def _overdue(timeout: float, error: str = "connection_timeout") -> DialError:
    return DialError(
        504,
        "timeout",
        error,
        "Upstream did not accept the connection in time",
        f"no connection within {timeout:g} s",
    )


def _part(error: Exception) -> None:
    """Part *error* from the frames that it came through.

    Event loops keep the error in one of these frames: it would stay, with all that the frames refer
    to, until the garbage collector runs.
    """
    error.__traceback__ = None


def _tls_error(error: ssl.SSLError) -> DialError:
    detail = getattr(error, "verify_message", "") or error.reason or str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        kind = "tls_certificate_error"
    else:
        # OpenSSL's reasons: TLSV1_ALERT_UNKNOWN_CA is what the upstream has sent.
        sent = "_ALERT_" in (error.reason or "")
        kind = "tls_alert_received" if sent else "tls_protocol_error"
    return DialError(502, "tls", kind, "Upstream TLS handshake failed", f"upstream TLS: {detail}")


def _os_error(error: OSError, addresses: list[str]) -> DialError:
    tried = ", ".join(addresses)
    if isinstance(error, ConnectionRefusedError):
        sentence = "Upstream refused the connection"
        return DialError(502, "refused", "connection_refused", sentence, f"refused by {tried}")
    # asyncio wraps errno in words of its own.
    detail = os.strerror(error.errno) if error.errno else str(error)
    kind = _UNREACHABLE.get(error.errno or 0, "destination_unavailable")
    sentence = "Upstream cannot be reached"
    return DialError(502, "unreachable", kind, sentence, f"cannot reach {tried}: {detail}")
