"""Rules that a CA must meet to be registered on a tunnel (vendor rule)."""

from __future__ import annotations

from datetime import datetime, timezone

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from .errors import ApiError

_MAX_BYTES = 8 * 1024
_MIN_RSA_BITS = 2048
_MIN_EC_BITS = 256
_STRONG_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)


def parse(pem: object) -> x509.Certificate:
    """Return the one CA certificate in `pem`. Raises ApiError that names the fault."""
    if not isinstance(pem, str) or not pem:
        raise _wrong("a PEM string is required")
    if len(pem.encode()) > _MAX_BYTES:
        raise _wrong(f"longer than {_MAX_BYTES} bytes")
    if "PRIVATE KEY" in pem:
        raise _wrong("contains a private key")
    try:
        certificates = x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        raise _wrong("not a PEM certificate") from None
    if len(certificates) != 1:
        raise _wrong(f"holds {len(certificates)} certificates instead of one")
    _check_dates(certificates[0])
    _check_extensions(certificates[0].extensions)
    _check_strength(certificates[0])
    return certificates[0]


def fingerprint(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of the certificate's DER, lower-case hex."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def _check_dates(certificate: x509.Certificate) -> None:
    moment = datetime.now(timezone.utc)
    if moment < certificate.not_valid_before_utc:
        raise _wrong("not valid yet")
    if moment > certificate.not_valid_after_utc:
        raise _wrong("expired")


def _check_extensions(extensions: x509.Extensions) -> None:
    try:
        constraints = extensions.get_extension_for_class(x509.BasicConstraints)
        if not constraints.value.ca:
            raise _wrong("BasicConstraints do not say CA:TRUE")
        if not constraints.critical:
            raise _wrong("BasicConstraints are not critical")
        if not extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign:
            raise _wrong("KeyUsage lacks keyCertSign")
        extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound as missing:
        raise _wrong(f"{missing.oid._name} is missing") from None


def _check_strength(certificate: x509.Certificate) -> None:
    key = certificate.public_key()
    strong = (isinstance(key, rsa.RSAPublicKey) and key.key_size >= _MIN_RSA_BITS) or (
        isinstance(key, ec.EllipticCurvePublicKey) and key.curve.key_size >= _MIN_EC_BITS
    )
    if not strong:
        raise _wrong("the key is neither RSA of 2048 bits nor ECDSA of P-256, or more")
    if not isinstance(certificate.signature_hash_algorithm, _STRONG_HASHES):
        raise _wrong("the signature's hash is weaker than SHA-256")


def _wrong(what: str) -> ApiError:
    return ApiError(400, f"ca_certificate_pem: {what}")
