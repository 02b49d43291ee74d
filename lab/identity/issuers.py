"""OIDC issuers: keys, signatures, discovery (OpenID Connect Discovery 1.0, RFC 7517, RFC 7519)."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

from ..core.credentials import write_secret
from ..core.errors import LabError

#: Platform -> its issuer as the world knows it.
WORLD = {
    "gcp": "https://accounts.google.com",
    "azure": "https://sts.windows.net/6f9d0c5e-1c3a-4f0e-9d51-0c6b3e0f7a11/",
    "aws": "https://3b0c2f9a-5d7e-4c61-8a1f-7e2d9b4c6a55.tokens.sts.global.api.aws",
    "github": "https://token.actions.githubusercontent.com",
    "okta": "https://lab.okta.com/oauth2/default",
    "spiffe": "https://oidc.spire.lab.internal",
    "kubernetes": "https://kubernetes.lab.internal",
}
_DEFAULT_LIFETIME = 600


def below(base: str) -> dict[str, str]:
    """Return an issuer for each platform below a base URL such as http://127.0.0.1:8000."""
    paths = {name: f"issuers/{name}" for name in WORLD}
    paths["okta"] = "oauth2/default"  # its token endpoint stands below the issuer
    return {name: f"{base}/{path}" for name, path in paths.items()}


@dataclass(frozen=True)
class _Key:
    """A private key (PEM) with the algorithm that it signs with."""

    kid: str
    algorithm: str
    pem: str

    @classmethod
    def make(cls, algorithm: str) -> _Key:
        """Make a key for the algorithm. Raises LabError if the algorithm has no key pair."""
        key: Any
        if algorithm.startswith(("RS", "PS")):
            key = rsa.generate_private_key(65537, 2048)
        elif algorithm in ("ES256", "ES384", "ES512"):
            curves = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
            key = ec.generate_private_key(curves[algorithm])
        elif algorithm == "EdDSA":
            key = ed25519.Ed25519PrivateKey.generate()
        else:
            raise LabError(f"algorithm {algorithm!r} has no key pair")
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return cls(secrets.token_hex(8), algorithm, pem.decode())

    @cached_property
    def jwk(self) -> dict[str, Any]:
        """The public half; cached, as loading a private key outlasts the rest of an exchange."""
        private: Any = serialization.load_pem_private_key(self.pem.encode(), password=None)
        found: Any = get_default_algorithms()[self.algorithm]
        public = found.to_jwk(private.public_key(), as_dict=True)
        return {**public, "kid": self.kid, "alg": self.algorithm, "use": "sig"}


class Issuer:
    """One issuer; its keys live in `path` (0600), the newest last.

    Args:
        url: the `iss` of its tokens.
    """

    def __init__(self, url: str, path: Path) -> None:
        self.url = url
        self._path = path
        self._keys: list[_Key] = []
        if path.exists():
            self._keys = [_Key(**each) for each in json.loads(path.read_text())]
        else:
            self.rotate()

    def rotate(self, keep_old: bool = False) -> list[str]:
        """Sign with a new key from now on; the old ones are published only if they are kept.

        Returns the published key ids.
        """
        self._keep([*(self._keys if keep_old else ()), _Key.make("RS256")])
        return self.kids

    @property
    def kids(self) -> list[str]:
        return [key.kid for key in self._keys]

    def jwks(self) -> dict[str, Any]:
        """The published key set."""
        return {"keys": [key.jwk for key in self._keys]}

    def sign(
        self,
        claims: Mapping[str, Any],
        lifetime: int = _DEFAULT_LIFETIME,
        algorithm: str = "RS256",
        key: str = "current",
        with_kid: bool = True,
    ) -> str:
        """Return a JWT.

        Args:
            claims: added to iss, iat and exp; None removes a claim.
            lifetime: seconds from `iat`, which is now unless `claims` says otherwise.
            algorithm: also HS256 and none, which an issuer should not use.
            key: "current", or "unpublished": one that the key set does not hold, under the
                current one's id.
            with_kid: whether the header names the key.

        Raises:
            LabError: there is no such key.
        """
        issued = claims.get("iat", int(time.time()))
        every = {"iss": self.url, "iat": issued, "exp": (issued or time.time()) + lifetime}
        every = {k: v for k, v in {**every, **claims}.items() if v is not None}
        kid, secret = self._signer(algorithm, key)
        headers = {"kid": kid} if with_kid else None
        return jwt.encode(every, secret, algorithm, headers)

    def _signer(self, algorithm: str, key: str) -> tuple[str, Any]:
        if key not in ("current", "unpublished"):
            raise LabError(f"key {key!r}: current or unpublished")
        if algorithm == "none":
            return self._keys[-1].kid, None
        if algorithm.startswith("HS"):
            return self._keys[-1].kid, secrets.token_bytes(64)
        fitting = [each for each in self._keys if each.algorithm == algorithm]
        if not fitting:
            fitting = [_Key.make(algorithm)]
            self._keep([*fitting, *self._keys])
        pem = _Key.make(algorithm).pem if key == "unpublished" else fitting[-1].pem
        return fitting[-1].kid, pem

    def _keep(self, keys: list[_Key]) -> None:
        self._keys = keys
        write_secret(self._path, json.dumps([asdict(each) for each in keys]))
