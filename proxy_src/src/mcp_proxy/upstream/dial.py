"""Connections to upstreams: name resolution, address validation, TCP and TLS.

Every address that a name resolves to must be allowed. The proxy then dials one of those very
addresses, so no second answer of the name server can lead elsewhere.

With several addresses, one that does not answer costs a fraction of a second, once: see ``race``
and ``addresses``.
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
import time
from collections.abc import Callable, Collection, Sequence
from ipaddress import AddressValueError, IPv4Address
from typing import TypeVar, cast

from ..config.model import RouteTls, Upstream, UpstreamPolicy
from ..system import descriptors, keepalive
from ..system.transports import CLOSED
from ..tls.contexts import upstream_context
from ..watch import log
from .addresses import Addresses
from .race import Race, part
from .tls import UpstreamTls

#: Types of RFC 9209 §2.3 by what the system says; EMFILE is the proxy's own shortage.
_UNREACHABLE = {
    errno.ENETUNREACH: "destination_ip_unroutable",
    errno.EHOSTUNREACH: "destination_ip_unroutable",
    errno.ECONNRESET: "connection_terminated",
    errno.EMFILE: "proxy_internal_error",
}

_OWN = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL))
"""Shortages of this machine, which say nothing about an address."""

_MOST_ADDRESSES = 64
"""Addresses of a name that are dialled, so that a name with thousands of them costs no more."""

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


class _Trial(asyncio.BufferedProtocol):
    """A connection that is made only to see whether it can be."""

    transport: asyncio.Transport = CLOSED

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See :class:`asyncio.BaseProtocol`."""
        self.transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> bytearray:
        """See :class:`asyncio.BufferedProtocol`."""
        return bytearray(1 << 10)

    def buffer_updated(self, nbytes: int) -> None:
        """See :class:`asyncio.BufferedProtocol`."""


class Dialer:
    """Opens connections to upstreams according to one policy."""

    def __init__(
        self,
        policy: UpstreamPolicy,
        connect_timeout: float,
        gone_after: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Give up after *connect_timeout* seconds for everything together.

        A machine that is gone can be recognised *gone_after* seconds later. Both are for upstreams
        without timeouts of their own. The *clock* counts the seconds for which an address is set
        aside.

        Raises :class:`tls.certificates.CertificateError`.
        """
        self._allowed = None if policy.disable_ip_validation else policy.allowed_ips
        self._timeout = connect_timeout
        self._gone_after = gone_after
        self._clock = clock
        self._policy = policy
        self._contexts: dict[RouteTls | None, ssl.SSLContext] = {None: upstream_context(policy)}
        self._resolver = Resolver()
        self._addresses: dict[Upstream, Addresses] = {}
        self._trials: dict[Upstream, asyncio.Future[None]] = {}

    async def connect(self, upstream: Upstream, factory: Callable[[str], _ProtocolT]) -> _ProtocolT:
        """Connect to *upstream*; *factory* makes the protocol for a connection to an address.

        Several addresses may be dialled at a time: the caller sees to the protocols that it made,
        and did not get back. Raises :class:`DialError`.
        """
        deadline = asyncio.get_running_loop().time() + self._patience(upstream)
        found = await self._resolve(upstream)
        left = deadline - asyncio.get_running_loop().time()
        if len(found) > 1 or upstream in self._addresses:
            return await self._choose(upstream, found, factory, left)
        try:
            dialling = self._dial(upstream, found[0], factory(found[0]))
            return await asyncio.wait_for(dialling, left)
        except asyncio.TimeoutError:
            raise _overdue(self._patience(upstream)) from None
        except OSError as error:
            part(error)
            raise _failure(error, found) from None

    async def _choose(
        self,
        upstream: Upstream,
        found: Sequence[str],
        factory: Callable[[str], _ProtocolT],
        seconds: float,
    ) -> _ProtocolT:
        """Connect to one of the addresses *found*."""
        addresses = self.addresses(upstream)
        order = addresses.order(found)
        self.try_again(upstream)
        race = Race(order, lambda address: self._dial(upstream, address, factory(address)))
        won = await race.run(seconds)
        for address in race.slow:
            self.set_aside(upstream, address, "does not answer")
        for address, error in race.failed.items():
            if error.errno not in _OWN:
                self.set_aside(upstream, address, str(_failure(error, [address])))
        if won is None:
            raise _why(race, self._patience(upstream))
        address, protocol = won
        addresses.used(address)
        self._take_back(upstream, address)
        return protocol

    def _patience(self, upstream: Upstream) -> float:
        """Seconds for everything together."""
        own = upstream.timeouts
        return self._timeout if own is None else own.connect

    def addresses(self, upstream: Upstream) -> Addresses:
        """What is known of the addresses of *upstream*."""
        known = self._addresses.get(upstream)
        if known is None:
            known = self._addresses[upstream] = Addresses(upstream.spread, self._clock)
        return known

    def set_aside(self, upstream: Upstream, address: str, reason: str) -> None:
        """Dial *address* only after the others, for some seconds."""
        if self.addresses(upstream).failed(address):
            log.event(
                log.logger,
                log.WARN,
                "upstream address set aside",
                upstream=str(upstream),
                address=address,
                reason=reason,
            )

    def _take_back(self, upstream: Upstream, address: str) -> None:
        if self.addresses(upstream).mended(address):
            log.event(
                log.logger,
                log.INFO,
                "upstream address in use again",
                upstream=str(upstream),
                address=address,
            )

    def try_again(self, upstream: Upstream) -> None:
        """Begin the trial of an address that was set aside long enough; no call waits for it.

        There is one at a time for *upstream*: each looks up and validates all of its addresses.
        """
        if upstream in self._trials:
            return
        address = self.addresses(upstream).due()
        if address:
            trial = self._trials[upstream] = asyncio.ensure_future(self._try(upstream, address))
            trial.add_done_callback(lambda _: self._trials.pop(upstream))

    async def _try(self, upstream: Upstream, address: str) -> None:
        trial = _Trial()
        try:
            # The name is looked up once more: all of it must still be allowed.
            if address not in await self._resolve(upstream):
                self.addresses(upstream).mended(address)  # or gone, for all that is known
                return
            dialling = self._dial(upstream, address, trial)
            await asyncio.wait_for(dialling, self._patience(upstream))
            self._take_back(upstream, address)
        except (OSError, asyncio.TimeoutError) as error:
            part(error)
            if getattr(error, "errno", None) not in _OWN:
                self.set_aside(upstream, address, str(error))
        except DialError as error:  # about the name: it says nothing about the address
            part(error)
        finally:
            trial.transport.close()

    def _tls(self, upstream: Upstream, protocol: asyncio.BufferedProtocol) -> UpstreamTls:
        own = upstream.tls
        context = self._contexts.get(own)
        if context is None:  # configured no more: for an exchange that began before
            context = upstream_context(self._policy, own)
        # SNI and verification go by the name, whatever address was dialled.
        name = own.server_name if own is not None and own.server_name else upstream.host
        return UpstreamTls(protocol, context, name)

    def keep(self, upstreams: Collection[Upstream]) -> None:
        """Be ready for *upstreams*, and forget what is known of all others.

        Raises :class:`tls.contexts.CertificateError`, and then nothing has changed.
        """
        wanted = {None, *(upstream.tls for upstream in upstreams)}
        new = {own: upstream_context(self._policy, own) for own in wanted - self._contexts.keys()}
        kept = self._contexts.keys() & wanted
        self._contexts = {**{own: self._contexts[own] for own in kept}, **new}
        for upstream in self._addresses.keys() - set(upstreams):
            del self._addresses[upstream]

    def close(self) -> None:
        """End all trials."""
        for trial in self._trials.values():
            trial.cancel()

    async def _dial(self, upstream: Upstream, address: str, protocol: _ProtocolT) -> _ProtocolT:
        if descriptors.short():
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        tls = self._tls(upstream, protocol) if upstream.scheme == "https" else None
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

    async def _resolve(self, upstream: Upstream) -> list[str]:
        """The addresses to dial for *upstream*, of a name of which each may be dialled.

        Raises :class:`DialError`.
        """
        addresses = await self._look_up(upstream.host, self._patience(upstream))
        self._validate(addresses)
        return addresses[:_MOST_ADDRESSES]

    async def _look_up(self, host: str, timeout: float) -> list[str]:
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


def _why(race: Race[_ProtocolT], timeout: float) -> DialError:
    """The reason why nobody won the *race*."""
    errors = list(race.failed.values())
    tls = [error for error in errors if isinstance(error, ssl.SSLError)]
    if not errors or (race.slow and not tls):
        return _overdue(timeout)
    return _failure([*errors, *tls][-1], list(race.failed))


def _failure(error: OSError, addresses: Sequence[str]) -> DialError:
    """What to say about *error*, after all of *addresses* were tried."""
    return _tls_error(error) if isinstance(error, ssl.SSLError) else _os_error(error, addresses)


def _tls_error(error: ssl.SSLError) -> DialError:
    detail = getattr(error, "verify_message", "") or error.reason or str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        kind = "tls_certificate_error"
    else:
        # OpenSSL's reasons: TLSV1_ALERT_UNKNOWN_CA is what the upstream has sent.
        sent = "_ALERT_" in (error.reason or "")
        kind = "tls_alert_received" if sent else "tls_protocol_error"
    return DialError(502, "tls", kind, "Upstream TLS handshake failed", f"upstream TLS: {detail}")


def _os_error(error: OSError, addresses: Sequence[str]) -> DialError:
    tried = ", ".join(addresses)
    if isinstance(error, ConnectionRefusedError):
        sentence = "Upstream refused the connection"
        return DialError(502, "refused", "connection_refused", sentence, f"refused by {tried}")
    # asyncio wraps errno in words of its own.
    detail = os.strerror(error.errno) if error.errno else str(error)
    kind = _UNREACHABLE.get(error.errno or 0, "destination_unavailable")
    sentence = "Upstream cannot be reached"
    return DialError(502, "unreachable", kind, sentence, f"cannot reach {tried}: {detail}")
