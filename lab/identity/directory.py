"""The directory of the identity platforms.

issuers/NAME.json           keys of an issuer (0600)
aws-role.json               credentials of the instance's role (0600)
github-request-token        value of a job's ACTIONS_ID_TOKEN_REQUEST_TOKEN (0600)
okta-client.pem             private key of the client at Okta (0600)
control.sock, workload.sock the control API and the SPIFFE Workload API
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from ..core.credentials import write_secret
from .aws_metadata import RoleCredentials
from .issuers import Issuer


@dataclass(frozen=True)
class IdentityDirectory:
    """Paths below one directory; missing files are made on first use."""

    path: Path

    @property
    def control(self) -> Path:
        return self.path / "control.sock"

    @property
    def workload(self) -> Path:
        return self.path / "workload.sock"

    @property
    def okta_client(self) -> Path:
        return self.path / "okta-client.pem"

    @property
    def aws_role(self) -> RoleCredentials:
        return RoleCredentials.kept(self.path / "aws-role.json")

    def issuer(self, name: str, url: str) -> Issuer:
        keys = self.path / "issuers"
        keys.mkdir(mode=0o700, exist_ok=True)
        return Issuer(url, keys / f"{name}.json")

    @property
    def github_token_file(self) -> Path:
        return self.path / "github-request-token"

    def github_token(self) -> str:
        path = self.github_token_file
        if not path.exists():
            write_secret(path, secrets.token_urlsafe(40))
        return path.read_text()

    def okta_public_key(self) -> bytes:
        """Return the PEM of the public half of the client's key."""
        pem = serialization.Encoding.PEM
        if not self.okta_client.exists():
            private = rsa.generate_private_key(65537, 2048).private_bytes(
                pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            write_secret(self.okta_client, private.decode())
        key = serialization.load_pem_private_key(self.okta_client.read_bytes(), password=None)
        return key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
