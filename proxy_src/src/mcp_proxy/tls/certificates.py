"""The server certificate: read, judged, and looked at again while the proxy runs."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from ..config.model import Tls, UpstreamPolicy
from ..watch import log
from ..watch.metrics import Metrics
from .contexts import CertificateError, server_context, upstream_context

_MAX_FILE_BYTES = 1 << 20
# Of systemd (systemd.exec(5), LoadCredentialEncrypted=): the key, decrypted, while its file is not.
_CREDENTIAL = "tls.key"
_UNPARSABLE = (
    ValueError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


@dataclass(frozen=True)
class Pair:
    """A certificate chain and its key as read from disk; ``leaf`` is the server certificate."""

    chain: bytes
    key: bytes
    leaf: x509.Certificate

    @property
    def digest(self) -> bytes:
        """A digest that tells two states of the files apart."""
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
    return parse_pair(tls, *_read_both(tls))


def parse_pair(
    tls: Tls,
    chain: bytes,
    key: bytes,
    fields: tuple[str, str] = ("tls.cert_file", "tls.key_file"),
    role: str = "server",
) -> Pair:
    """Like :func:`read_pair`, for contents already read; *tls* only gives the names in errors.

    *fields* are those of certificate and key, *role* is what the certificate is for.
    """
    cert_field, key_field = fields
    try:
        leaf = x509.load_pem_x509_certificates(chain)[0]
        public = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except _UNPARSABLE:
        raise CertificateError(
            cert_field,
            f"no usable PEM certificate in {tls.cert_file}",
            f"put the {role} certificate there, in PEM",
        ) from None
    try:
        private = load_pem_private_key(key, password=None)
    except TypeError:
        raise CertificateError(
            key_field,
            f"the key in {tls.key_file} is encrypted",
            "store it without a passphrase, readable by the proxy only",
        ) from None
    except _UNPARSABLE:
        raise CertificateError(
            key_field,
            f"no usable PEM private key in {tls.key_file}",
            f"put the {role} certificate's key there, in PEM",
        ) from None
    own = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if own != public:
        raise CertificateError(
            key_field,
            f"the key in {tls.key_file} does not match the certificate in {tls.cert_file}",
            "put the key there that the certificate was made for",
        )
    return Pair(chain, key, leaf)


class CertificateStore:
    """Keeps the pair for new inner-TLS connections in step with the files on disk."""

    def __init__(
        self, tls: Tls, metrics: Metrics, on_change: Callable[[Pair], None] = lambda _: None
    ) -> None:
        """Load the first pair; raises :class:`CertificateError` if there is no usable one.

        *on_change* is called with each pair that :meth:`poll` takes into use.
        """
        self._tls = tls
        self._metrics = metrics
        self._on_change = on_change
        self._refused = b""
        self._problem = ""
        pair = read_pair(tls)
        self.context = server_context(pair.chain, pair.key)
        self._take(pair)
        # Not a reason to stay down: the renewed certificate will be picked up while running.
        self._note_validity()

    async def watch(self) -> None:
        """Call :meth:`poll` every ``poll_interval`` seconds, for ever."""
        while True:
            await asyncio.sleep(self._tls.poll_interval)
            self.poll()

    def poll(self) -> bool:
        """Look at the files; return whether a new pair was taken into use.

        The comparison uses the whole content, which is small, and not times of modification, which
        lie after a restore. A bad pair is refused with one line in the log, however long it stays.
        """
        self._note_validity()
        digest = b""
        try:
            chain, key = _read_both(self._tls)
            digest = _digest(chain, key)
            pair = self._judge(self._tls, chain, key)
        except CertificateError as error:
            self._refuse(digest, error)
            return False
        if not self.use(self._tls, pair):
            return False
        self._on_change(self.pair)
        return True

    def _note_validity(self) -> None:
        """Say it once when the pair in use runs out, or the clock has been set."""
        problem = self.pair.invalidity()
        if problem and problem != self._problem:
            log.event(log.logger, log.ERROR, "certificate not valid", problem=problem)
        self._problem = problem

    def look(self, tls: Tls) -> Pair | None:
        """The pair that *tls* names, ``None`` if it is the one in use.

        Raises :class:`CertificateError` if it is not fit to replace that.
        """
        return self._judge(tls, *_read_both(tls))

    def use(self, tls: Tls, pair: Pair | None) -> bool:
        """From now on look at the files of *tls*, and use what :meth:`look` found there.

        Returns whether that is a new pair.
        """
        self._tls = tls
        self._refused = b""
        if pair is None:
            return False
        self.context = server_context(pair.chain, pair.key)
        self._take(pair)
        self._metrics.certificate_reload(loaded=True)
        return True

    def _judge(self, tls: Tls, chain: bytes, key: bytes) -> Pair | None:
        if _digest(chain, key) == self.pair.digest:
            return None
        pair = parse_pair(tls, chain, key)
        server_context(pair.chain, pair.key)
        problem = pair.invalidity()
        if problem and not self.pair.invalidity():
            raise CertificateError("tls.cert_file", problem, "put a valid certificate there")
        return pair

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


def _read_both(tls: Tls) -> tuple[bytes, bytes]:
    return read_file("tls.cert_file", tls.cert_file), read_file("tls.key_file", _key_path(tls))


def _key_path(tls: Tls) -> str:
    """The file with the key: systemd's, if it has handed one over."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY", "")
    handed = Path(directory, _CREDENTIAL)
    return str(handed) if directory and handed.is_file() else tls.key_file


def read_ca(policy: UpstreamPolicy) -> UpstreamPolicy:
    """*policy* with the content of its ``ca_file``, which is thus read once for all workers.

    Raises :class:`CertificateError` if there is no usable certificate in it.
    """
    if policy.ca_file:
        content = read_file("upstream.tls.ca_file", policy.ca_file)
        policy = replace(policy, ca_pem=content.decode("latin-1"))
    upstream_context(policy)
    return policy


def read_file(field: str, path: str) -> bytes:
    """The content of the file at *path*, of 1 MiB at most. Raises :class:`CertificateError`."""
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
