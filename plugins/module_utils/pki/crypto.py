# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates and keys: reading them, and the rules that CA and server certificates share.

This is the only file that imports ``cryptography``, which may be missing: the names are then
``None``, and :func:`require_cryptography` says so before any of them is used.
"""

from __future__ import annotations

import re
import sys
from datetime import datetime, timezone
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError

try:
    import cryptography
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
except ImportError:
    cryptography = x509 = hashes = serialization = ec = padding = rsa = None  # type: ignore
    InvalidSignature = UnsupportedAlgorithm = ValueError  # type: ignore

__all__ = ["UnsupportedAlgorithm", "hashes", "x509"]

MINIMUM_VERSION = "38.0.0"
# Vendor rule: a registered certificate is at most 8 kB of PEM. Ours for requests and keys too.
MAXIMUM_PEM_BYTES = 8192

_BEGIN = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----")
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


def require_cryptography() -> None:
    """Raises a :class:`TunnelError` unless a recent enough ``cryptography`` can be imported."""
    found = "is not installed"
    if cryptography is not None:
        version = cryptography.__version__
        if _release(version) >= _release(MINIMUM_VERSION):
            return
        found = f"is version {version}"
    raise TunnelError(
        "Python library cryptography",
        f"{found} for the interpreter {sys.executable} (Python {sys.version.split()[0]}), "
        f"and {MINIMUM_VERSION} or later is needed",
        "Install python3-cryptography or the PyPI package cryptography for that interpreter, "
        "or point ansible_python_interpreter to one that has it",
    )


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def load_certificate(pem: str, subject: str) -> x509.Certificate:
    """Reads exactly one PEM certificate and nothing else.

    :param subject: the option or file that the text comes from, for messages.
    :raises TunnelError: naming the requirement that the text breaks.
    """
    require_cryptography()
    labels = _BEGIN.findall(pem)
    if any(label.endswith("PRIVATE KEY") for label in labels):
        raise TunnelError(
            subject,
            "contains a private key",
            "Give the certificate alone; treat that key as exposed if this text was published",
        )
    if len(pem.encode()) > MAXIMUM_PEM_BYTES:
        raise TunnelError(
            subject,
            f"is {len(pem.encode())} bytes long, more than {MAXIMUM_PEM_BYTES} (8 kB)",
            "Give one PEM certificate without others and without text around it",
        )
    if labels != ["CERTIFICATE"]:
        raise TunnelError(
            subject,
            f"holds {len(labels)} PEM blocks instead of one certificate"
            if labels
            else "is not a PEM certificate",
            "Give exactly one block that begins with -----BEGIN CERTIFICATE-----",
        )
    if _CERTIFICATE.sub("", pem).strip():
        raise TunnelError(
            subject,
            "has text around its PEM certificate",
            "Remove it, for example with: openssl x509 -in FILE",
        )
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        # cryptography parses both lazily, and everything below reads them.
        certificate.public_key()
        list(certificate.extensions)
    except (
        ValueError,
        TypeError,
        UnsupportedAlgorithm,
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
    ) as error:
        raise TunnelError(
            subject,
            f"is not a certificate that can be read ({error})",
            "Check it with: openssl x509 -in FILE -noout -text",
        ) from None
    return certificate


def load_private_key(pem: str, subject: str) -> Any:
    """Reads an unencrypted PEM private key. The messages never quote it.

    :raises TunnelError: if it is encrypted, not a key, or put together from two.
    """
    require_cryptography()
    try:
        key = serialization.load_pem_private_key(pem.encode(), password=None)
        if _is_whole(key):
            return key
        problem = "has the public part of another key"
    except TypeError:
        problem = "is encrypted with a passphrase"
    except (ValueError, UnsupportedAlgorithm):
        problem = "is not a PEM private key"
    raise TunnelError(
        subject, problem, "Give an unencrypted key, for example from: openssl pkey -in FILE"
    )


def _is_whole(key: Any) -> bool:
    """Whether the public part of a key is its own.

    A file of an elliptic curve's key has both (RFC 5915). cryptography compares them from 45 on.
    """
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        return True
    derived = ec.derive_private_key(key.private_numbers().private_value, key.curve)
    return same_key(derived.public_key(), key.public_key())


def generate_key() -> Any:
    """Makes an ECDSA key on P-256."""
    require_cryptography()
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: Any) -> bytes:
    """The unencrypted PKCS #8 PEM form of a private key."""
    pem: bytes = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return pem


def ssh_key(key: Any) -> bytes:
    """The unencrypted form of a private key that OpenSSH reads."""
    content: bytes = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    return content


def ssh_public_key(key: Any) -> str:
    """The public key of a private one, in OpenSSH's form and without a comment."""
    content: bytes = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return content.decode()


def pem_of(certificate: x509.Certificate | x509.CertificateSigningRequest) -> str:
    """The PEM form of a certificate or request, as cryptography writes it."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def fingerprint(certificate: x509.Certificate) -> str:
    """Lower-case hexadecimal SHA-256 of the DER form, as the Tunnels API shows it."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def same_key(one: Any, other: Any) -> bool:
    """Whether two public keys are the same."""
    encoding = serialization.Encoding.DER
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return bool(one.public_bytes(encoding, form) == other.public_bytes(encoding, form))


def check_key(
    pem: str, certificate: x509.Certificate, key_subject: str, subject: str, kind: str
) -> None:
    """Checks that a private key belongs to the certificate.

    :param pem: the key, which ``key_subject`` names in messages.
    :param subject: the option or file of the certificate; ``kind`` says which certificate it is.
    :raises TunnelError: if it is no key, or another one.
    """
    key = load_private_key(pem, key_subject)
    if not same_key(key.public_key(), certificate.public_key()):
        raise TunnelError(
            key_subject,
            f"does not belong to the certificate of {subject}",
            f"Give the key that the {kind} certificate was made with",
        )


def not_before(certificate: x509.Certificate) -> datetime:
    """Start of validity with time zone (cryptography before 42 has naive UTC only)."""
    if hasattr(certificate, "not_valid_before_utc"):
        return certificate.not_valid_before_utc
    return certificate.not_valid_before.replace(tzinfo=timezone.utc)


def not_after(certificate: x509.Certificate) -> datetime:
    """End of validity with time zone (cryptography before 42 has naive UTC only)."""
    if hasattr(certificate, "not_valid_after_utc"):
        return certificate.not_valid_after_utc
    return certificate.not_valid_after.replace(tzinfo=timezone.utc)


def utc_now() -> datetime:
    """The present, to the second: certificates have no fractions."""
    return datetime.now(timezone.utc).replace(microsecond=0)


def timestamp(moment: datetime) -> str:
    """ISO 8601 in UTC, like ``2026-11-01T12:00:00Z``."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def extension(certificate: Any, kind: Any) -> Any:
    """The extension (``critical``, ``value``) of this class, or ``None``."""
    try:
        return certificate.extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        return None


def key_problem(key: Any) -> str | None:
    """The problem with a public key's strength, if any (vendor rule: RSA 2048 or ECDSA P-256)."""
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < 2048:
            return f"its RSA key has {key.key_size} bits and needs at least 2048"
        return None
    if isinstance(key, ec.EllipticCurvePublicKey):
        # Other curves of that size exist, but TLS libraries do not take them.
        if not isinstance(key.curve, (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)):
            return f"its ECDSA key is on {key.curve.name} and must be on P-256, P-384 or P-521"
        return None
    return "its key is neither RSA nor ECDSA"


def certificate_problems(certificate: x509.Certificate, now: datetime) -> list[str]:
    """The rules for both kinds of certificates that this one breaks: validity and strength."""
    problems = []
    if now < not_before(certificate):
        problems.append(
            f"it is not valid before {timestamp(not_before(certificate))} "
            f"and the clock here says {timestamp(now)}"
        )
    if now > not_after(certificate):
        problems.append(f"it has expired on {timestamp(not_after(certificate))}")
    weak_key = key_problem(certificate.public_key())
    if weak_key:
        problems.append(weak_key)
    try:
        digest = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        digest = None
    if not isinstance(digest, (hashes.SHA256, hashes.SHA384, hashes.SHA512)):
        name = digest.name.upper() if digest else "an unsupported algorithm"
        problems.append(f"its signature uses {name} and needs SHA-256 or stronger")
    return problems


def is_signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether the issuer's key made the certificate's signature.

    RSA-PSS signatures can be checked with cryptography 41 and later only.
    """
    key = issuer.public_key()
    signed = certificate.tbs_certificate_bytes
    try:
        digest: Any = certificate.signature_hash_algorithm
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(certificate.signature, signed, ec.ECDSA(digest))
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(certificate.signature, signed, _rsa_padding(certificate), digest)
        else:
            return False
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True


def _rsa_padding(certificate: x509.Certificate) -> Any:
    """The padding that an RSA signature uses."""
    parameters = getattr(certificate, "signature_algorithm_parameters", None)
    return parameters if isinstance(parameters, padding.PSS) else padding.PKCS1v15()
