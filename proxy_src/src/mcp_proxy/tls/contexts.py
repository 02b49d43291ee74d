"""The TLS contexts of the data path: towards clients and towards upstreams.

Apart from :mod:`certificates`, which looks into certificates, so that a worker need not load the
library for that.
"""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

from ..config.model import RouteTls, UpstreamPolicy
from . import openssl

# TLS 1.2 only with forward secrecy and an AEAD (RFC 9325 §4.2); TLS 1.3 has nothing else.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
# What every client of TLS 1.3 has (RFC 8446 §9.1), and the cheapest where AES is in hardware.
_SUITE = "TLS_AES_128_GCM_SHA256"
# Of TLS 1.3, for each full handshake. A resumption brings the next one (RFC 8446 §4.6.1).
_TICKETS = 1
_ALPN = ["h2", "http/1.1"]
# ssl.VERIFY_X509_PARTIAL_CHAIN, which Python has since 3.10: X509_V_FLAG_PARTIAL_CHAIN of OpenSSL.
_PARTIAL_CHAIN = ssl.VerifyFlags(0x80000)


class CertificateError(Exception):
    """A file that cannot serve its purpose. ``field`` is its dotted name in the configuration."""

    def __init__(self, field: str, what: str, remedy: str) -> None:
        self.field = field
        self.what = what
        self.remedy = remedy
        super().__init__(f"{field}: {what}; {remedy}")


@dataclass
class ServerTls:
    """The context that inner-TLS connections begin with; a swap spares those that have begun."""

    context: ssl.SSLContext


def server_context(chain: bytes, key: bytes) -> ssl.SSLContext:
    """The inner TLS towards clients: TLS 1.2 and 1.3, ALPN ``h2`` and ``http/1.1`` or none.

    Raises :class:`CertificateError` if OpenSSL will not have the pair (both in PEM).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(_ALPN)
    context.num_tickets = _TICKETS
    openssl.prefer_suite(context, _SUITE)
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_RENEGOTIATION
    try:
        with _in_memory(chain) as chain_file, _in_memory(key) as key_file:
            context.load_cert_chain(chain_file, key_file, password="")
    except (ssl.SSLError, OSError) as error:
        raise CertificateError(
            "tls.cert_file",
            f"OpenSSL refuses the certificate: {getattr(error, 'reason', None) or error.strerror}",
            "use RSA of at least 2048 bits or ECDSA from P-256 on, with SHA-256",
        ) from None
    return context


def upstream_context(policy: UpstreamPolicy, route: RouteTls | None = None) -> ssl.SSLContext:
    """The TLS towards https upstreams, which trusts ``ca_file``, the system's CAs, or both.

    Each certificate in ``ca_file`` is trusted as it is: a root, an issuing CA alone, or the
    upstream's own. A *route* may have one in place of all of these, and a client certificate.

    Raises :class:`CertificateError` if ``ca_file`` holds no usable certificate, or OpenSSL will not
    have the client certificate. Of a route, its field is only the name of the option.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= _PARTIAL_CHAIN
    if route is not None and route.cert:
        _present(context, route)
    if route is not None and route.ca:
        _trust_only(context, route)
        return context
    if policy.include_system_cas:
        context.set_default_verify_paths()
    if policy.ca_file:
        try:
            if policy.ca_pem:
                with _in_memory(policy.ca_pem.encode("latin-1")) as path:
                    context.load_verify_locations(path)
            else:
                context.load_verify_locations(policy.ca_file)
        except (ssl.SSLError, OSError, ValueError):
            raise CertificateError(
                "upstream.tls.ca_file",
                f"no usable PEM certificate in {policy.ca_file}",
                "put the CA certificates of the https upstreams there, in PEM",
            ) from None
    return context


def _present(context: ssl.SSLContext, route: RouteTls) -> None:
    """Have *context* show the client certificate of *route*."""
    chain, key = route.cert.encode("latin-1"), route.key.encode("latin-1")
    try:
        with _in_memory(chain) as chain_file, _in_memory(key) as key_file:
            context.load_cert_chain(chain_file, key_file, password="")
    except (ssl.SSLError, OSError) as error:
        raise CertificateError(
            "client_cert",
            f"OpenSSL refuses the certificate: {getattr(error, 'reason', None) or error.strerror}",
            "use RSA of at least 2048 bits or ECDSA from P-256 on, with SHA-256",
        ) from None


def _trust_only(context: ssl.SSLContext, route: RouteTls) -> None:
    """Have *context* trust the CAs of *route*."""
    try:
        with _in_memory(route.ca.encode("latin-1")) as path:
            context.load_verify_locations(path)
    except (ssl.SSLError, OSError):
        raise CertificateError(
            "ca_file",
            "no usable PEM certificate in this file",
            "put the CA certificates of the route's upstream there, in PEM",
        ) from None


@contextlib.contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    """A path for *content*: OpenSSL reads only files, and the one on disk may have changed."""
    descriptor = os.memfd_create("mcp-proxy", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
