"""Certificates for tests: a CA, and server certificates of any validity signed by it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def put(path: Path, content: bytes) -> None:
    """Give *path* this *content* at once: a proxy that polls the file never finds half of it."""
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(content)
    new.replace(path)


@dataclass(frozen=True)
class Issued:
    """A certificate and its key, both in PEM."""

    cert: bytes
    key: bytes

    def write(self, directory: Path) -> tuple[str, str]:
        """Store the pair as tls.crt and tls.key; return the two paths."""
        directory.mkdir(parents=True, exist_ok=True)
        paths = directory / "tls.crt", directory / "tls.key"
        for path, content in zip(paths, (self.cert, self.key)):
            put(path, content)
        return str(paths[0]), str(paths[1])

    @property
    def serial(self) -> int:
        """The number by which its CA knows it."""
        return x509.load_pem_x509_certificate(self.cert).serial_number


class Authority:
    """A CA as the tunnel's requirements want it; signs server certificates directly.

    With an *issuer*, an intermediate one, whose certificate that other has signed. There may be
    as many CAs *below* it.
    """

    def __init__(
        self, name: str = "test CA", issuer: Authority | None = None, below: int = 0
    ) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._ski = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        now = datetime.now(timezone.utc)
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name((issuer or self)._name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=400))
            .not_valid_after(now + timedelta(days=400))
            .add_extension(x509.BasicConstraints(ca=True, path_length=below), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(self._ski, critical=False)
            .sign((issuer or self)._key, hashes.SHA256())
        )
        self.cert = certificate.public_bytes(serialization.Encoding.PEM)

    def issue(
        self,
        *names: str,
        begins_days: float = -1,
        ends_days: float = 90,
        purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH,
    ) -> Issued:
        """A certificate for *names*, valid between two days counted from now, and one *purpose*."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(timezone.utc)
        san = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        aki = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(self._ski)
        usage = x509.ExtendedKeyUsage([purpose])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])]))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(days=begins_days))
            .not_valid_after(now + timedelta(days=ends_days))
            .add_extension(san, critical=False)
            .add_extension(aki, critical=False)
            .add_extension(usage, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return Issued(certificate.public_bytes(serialization.Encoding.PEM), key_pem(key))


def client_pair(authority: Authority, name: str = "proxy.test", **days: float) -> Issued:
    """A certificate of *authority* by which a client shows who it is."""
    return authority.issue(name, purpose=ExtendedKeyUsageOID.CLIENT_AUTH, **days)
