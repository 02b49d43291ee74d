"""Credentials that the lab makes in the vendor's place: a tunnel with its token, the edge's CA.

Formats as the vendor's: a token is base64 JSON of account, tunnel UUID and secret; domains are
eight characters below `tunnel.anthropic.com`.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import string
import uuid
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

#: Names that a connector checks the edge's certificate against.
EDGE_NAMES = ("h2.cftunnel.com", "quic.cftunnel.com", "probe.cftunnel.com")
_ALPHABET = string.ascii_lowercase + string.digits
_LIFETIME = timedelta(days=30)


@dataclass(frozen=True)
class Tunnel:
    """A tunnel as its owner knows it. `secret` is base64."""

    id: str
    domain: str
    account: str
    uuid: str
    secret: str

    @classmethod
    def make(cls) -> Tunnel:
        """Make up a tunnel."""
        return cls(
            id=new_id("tnl"),
            domain="".join(secrets.choice(_ALPHABET) for _ in range(8)) + ".tunnel.anthropic.com",
            account=secrets.token_hex(16),
            uuid=str(uuid.uuid4()),
            secret=_secret(),
        )

    def rotated(self) -> Tunnel:
        """Return the same tunnel with a new secret."""
        return replace(self, secret=_secret())

    @property
    def secret_bytes(self) -> bytes:
        """The secret as a connector sends it."""
        return base64.b64decode(self.secret)

    @property
    def token(self) -> str:
        """The tunnel token."""
        fields = {"a": self.account, "t": self.uuid, "s": self.secret}
        return base64.b64encode(json.dumps(fields, separators=(",", ":")).encode()).decode()


@dataclass(frozen=True)
class Issued:
    """A certificate authority's certificate and one server certificate with its key, as PEM."""

    ca: str
    certificate: str
    key: str


def issue(authority: str, names: tuple[str, ...]) -> Issued:
    """Make a CA called `authority` and a certificate for DNS `names`; the CA's key is forgotten."""
    now = datetime.now(timezone.utc) - timedelta(minutes=5)
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, authority)])
    ca_id = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    ca = (
        x509.CertificateBuilder(ca_name, ca_name, ca_key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(ca_id, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    leaf = (
        x509.CertificateBuilder(
            ca_name,
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])]),
            key.public_key(),
            x509.random_serial_number(),
        )
        .not_valid_before(now)
        .not_valid_after(now + _LIFETIME)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False
        )
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_id), critical=False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Issued(ca.public_bytes(pem).decode(), leaf.public_bytes(pem).decode(), private.decode())


def new_id(prefix: str) -> str:
    """Make up an identifier as the vendor's API does: `PREFIX_01…`."""
    return f"{prefix}_01" + "".join(secrets.choice(string.ascii_letters) for _ in range(22))


def write_secret(path: Path, text: str) -> None:
    """Replace `path` atomically by a 0600 file holding `text`."""
    partial = path.with_name(f".{path.name}.new")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    partial.replace(path)


def _secret() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()
