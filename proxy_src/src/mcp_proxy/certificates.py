"""Certificates, and the TLS contexts made from them: towards clients and towards upstreams."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from . import log
from .metrics import Metrics
from .settings import Tls, UpstreamPolicy

# TLS 1.2 only with forward secrecy and an AEAD (RFC 9325 §4.2); TLS 1.3 has nothing else.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
_ALPN = ["h2", "http/1.1"]
_MAX_FILE_BYTES = 1 << 20
_UNPARSABLE = (
    ValueError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


class CertificateError(Exception):
    """A file that cannot serve its purpose. ``field`` is its dotted name in the configuration."""

    def __init__(self, field: str, what: str, remedy: str) -> None:
        self.field = field
        self.what = what
        self.remedy = remedy
        super().__init__(f"{field}: {what}; {remedy}")


@dataclass(frozen=True)
class Pair:
    """A certificate chain and its key as read from disk; ``leaf`` is the server certificate."""

    chain: bytes
    key: bytes
    leaf: x509.Certificate

    @property
    def digest(self) -> bytes:
        """Tells two states of the files apart."""
        return _digest(self.chain, self.key)

    @property
    def expires(self) -> datetime:
        """End of the validity, in UTC."""
        return self.leaf.not_valid_after_utc

    def invalidity(self) -> str:
        """Why the certificate is not valid at this moment, ``""`` if it is."""
        now = datetime.now(timezone.utc)
        if now > self.expires:
            return f"expired at {_iso(self.expires)}"
        if now < self.leaf.not_valid_before_utc:
            return f"not valid before {_iso(self.leaf.not_valid_before_utc)}"
        return ""

    def names(self) -> list[str]:
        """The DNS names in the certificate's subjectAltName."""
        try:
            san = self.leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (x509.ExtensionNotFound, *_UNPARSABLE):
            return []
        return san.get_values_for_type(x509.DNSName)


def read_pair(tls: Tls) -> Pair:
    """Read the pair that *tls* names and check that its halves belong together.

    Raises :class:`CertificateError`. Validity in time is left to :meth:`Pair.invalidity`.
    """
    chain = _read("tls.cert_file", tls.cert_file)
    key = _read("tls.key_file", tls.key_file)
    return parse_pair(tls, chain, key)


def parse_pair(tls: Tls, chain: bytes, key: bytes) -> Pair:
    """Like :func:`read_pair`, for contents already read; *tls* only gives the names in errors."""
    try:
        leaf = x509.load_pem_x509_certificates(chain)[0]
        public = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except _UNPARSABLE:
        raise CertificateError(
            "tls.cert_file",
            f"no usable PEM certificate in {tls.cert_file}",
            "put the server certificate there, in PEM",
        ) from None
    try:
        private = load_pem_private_key(key, password=None)
    except TypeError:
        raise CertificateError(
            "tls.key_file",
            f"the key in {tls.key_file} is encrypted",
            "store it without a passphrase, readable by the proxy only",
        ) from None
    except _UNPARSABLE:
        raise CertificateError(
            "tls.key_file",
            f"no usable PEM private key in {tls.key_file}",
            "put the server certificate's key there, in PEM",
        ) from None
    own = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if own != public:
        raise CertificateError(
            "tls.key_file",
            f"the key in {tls.key_file} does not match the certificate in {tls.cert_file}",
            "put the key there that the certificate was made for",
        )
    return Pair(chain, key, leaf)


def server_context(pair: Pair) -> ssl.SSLContext:
    """The inner TLS towards clients: TLS 1.2 and 1.3, ALPN ``h2`` and ``http/1.1`` or none.

    Raises :class:`CertificateError` if OpenSSL will not have the pair.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(_ALPN)
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_RENEGOTIATION
    try:
        with _in_memory(pair.chain) as chain, _in_memory(pair.key) as key:
            context.load_cert_chain(chain, key, password="")
    except (ssl.SSLError, OSError) as error:
        raise CertificateError(
            "tls.cert_file",
            f"OpenSSL refuses the certificate: {getattr(error, 'reason', None) or error.strerror}",
            "use RSA of at least 2048 bits or ECDSA from P-256 on, with SHA-256",
        ) from None
    return context


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


def upstream_context(policy: UpstreamPolicy) -> ssl.SSLContext:
    """The TLS towards https upstreams, which trusts ``ca_file``, the system's CAs, or both.

    Raises :class:`CertificateError` if ``ca_file`` holds no usable certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if policy.include_system_cas:
        context.set_default_verify_paths()
    if policy.ca_file:
        try:
            context.load_verify_locations(policy.ca_file)
        except (ssl.SSLError, OSError, ValueError):
            raise CertificateError(
                "upstream.tls.ca_file",
                f"no usable PEM certificate in {policy.ca_file}",
                "put the CA certificates of the https upstreams there, in PEM",
            ) from None
    return context


class CertificateStore:
    """Keeps the context for new inner-TLS connections in step with the files on disk.

    Connections hold the context they began with, so a swap does not touch them.
    """

    def __init__(self, tls: Tls, metrics: Metrics) -> None:
        """Load the first pair; raises :class:`CertificateError` if there is no usable one."""
        self._tls = tls
        self._metrics = metrics
        self._refused = b""
        pair = read_pair(tls)
        self.context = server_context(pair)
        self._take(pair)
        problem = pair.invalidity()
        if problem:
            # Not a reason to stay down: the renewed certificate will be picked up while running.
            log.event(log.logger, log.ERROR, "certificate not valid", problem=problem)

    async def watch(self) -> None:
        """Call :meth:`poll` every ``poll_interval`` seconds, for ever."""
        while True:
            await asyncio.sleep(self._tls.poll_interval)
            self.poll()

    def poll(self) -> bool:
        """Look at the files; return whether a new pair was taken into use.

        The whole content is compared, and not times of modification: it is small, and times lie
        after a restore. A bad pair is refused with one line in the log, however long it stays.
        """
        digest = b""
        try:
            chain = _read("tls.cert_file", self._tls.cert_file)
            key = _read("tls.key_file", self._tls.key_file)
            digest = _digest(chain, key)
            if digest == self.pair.digest:
                self._refused = b""
                return False
            pair = parse_pair(self._tls, chain, key)
            context = server_context(pair)
            problem = pair.invalidity()
            if problem and not self.pair.invalidity():
                raise CertificateError("tls.cert_file", problem, "put a valid certificate there")
        except CertificateError as error:
            self._refuse(digest, error)
            return False
        self.context = context
        self._refused = b""
        self._take(pair)
        self._metrics.certificate_reload(loaded=True)
        return True

    def _take(self, pair: Pair) -> None:
        self.pair = pair
        self._metrics.certificate_loaded(pair.expires.timestamp())
        log.event(
            log.logger,
            log.INFO,
            "certificate loaded",
            file=self._tls.cert_file,
            names=" ".join(pair.names()),
            expires=_iso(pair.expires),
            serial=f"{pair.leaf.serial_number:x}",
        )

    def _refuse(self, digest: bytes, error: CertificateError) -> None:
        state = _digest(digest, str(error).encode())
        if state == self._refused:
            return
        self._refused = state
        self._metrics.certificate_reload(loaded=False)
        log.event(
            log.logger,
            log.ERROR,
            "new certificate refused, the old one stays in use",
            field=error.field,
            problem=error.what,
            remedy=error.remedy,
            expires=_iso(self.pair.expires),
        )


def _read(field: str, path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(_MAX_FILE_BYTES)
    except OSError as error:
        remedy = "check the path, and that the proxy's user may read it"
        raise CertificateError(field, f"cannot read {path}: {error.strerror}", remedy) from None


def _digest(*parts: bytes) -> bytes:
    return hashlib.sha256(b"\0".join(parts)).digest()


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
