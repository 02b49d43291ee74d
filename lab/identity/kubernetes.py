"""Kubernetes: a projected service-account token, laid out as a kubelet does it."""

from __future__ import annotations

import secrets
import shutil
import time
from pathlib import Path

from .issuers import Issuer

SUBJECT = "system:serviceaccount:mcp:tunnel"
_LIFETIME = 3600


def project(issuer: Issuer, directory: Path, audience: str) -> Path:
    """Write the token into `directory` and return its path; again: replace it atomically.

    `token` points through the link `..data` into a directory with the time in its name, and
    `..data` is what changes.
    """
    begins = int(time.time())
    namespace, name = SUBJECT.split(":")[2:]
    claims = {
        **{"aud": [audience], "iat": begins, "nbf": begins, "sub": SUBJECT},
        "jti": secrets.token_hex(16),
        "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": name}},
    }
    directory.mkdir(parents=True, exist_ok=True)
    data, token = directory / "..data", directory / "token"
    before = data.resolve() if data.is_symlink() else None
    fresh = directory / f"..{time.strftime('%Y_%m_%d_%H_%M_%S')}.{secrets.randbelow(10**9)}"
    fresh.mkdir()
    (fresh / "token").write_text(issuer.sign(claims, _LIFETIME))
    link = directory / "..data_tmp"
    link.symlink_to(fresh.name)
    link.replace(data)
    if not token.is_symlink():
        token.symlink_to("..data/token")
    if before is not None:
        shutil.rmtree(before)
    return token
