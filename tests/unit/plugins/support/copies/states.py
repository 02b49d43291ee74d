"""A state directory as the roles leave one, and age keys, for tests of copies."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pyrage
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import openssl
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.tokens import make_token

TUNNEL_ID = "tnl_01ABCDEF"
MADE_AT = "2026-11-29T05:00:00Z"


def make_files(ca: tuple[str, str]) -> dict[str, bytes]:
    """Return name to content of the files that a state host has."""
    certificate, key = ca
    replicas = {
        "version": 1,
        "domain": openssl.DOMAIN,
        "replicas": {"host1": {"machine": "ab" * 8, "confirmed": "2026-11-01T12:00:00Z"}},
    }
    texts = {
        "ca.crt": certificate,
        "ca.key": key,
        "tunnel-token": make_token(),
        "tunnel-id": TUNNEL_ID,
        "tunnel-domain": openssl.DOMAIN,
        "replicas.json": json.dumps(replicas, indent=1),
    }
    return {name: text.encode() for name, text in texts.items()}


def write_files(directory: Path, files: dict[str, bytes]) -> Path:
    """Put the files into a directory of their owner alone; return it."""
    directory.mkdir(mode=0o700, parents=True)
    for name, content in files.items():
        (directory / name).write_bytes(content)
        (directory / name).chmod(0o600)
    return directory


def make_pair() -> tuple[str, str]:
    """Return a recipient and its identity, as age-keygen makes them."""
    identity = pyrage.x25519.Identity.generate()
    return str(identity.to_public()), str(identity)


def packed(files: dict[str, bytes], /, **changes: Any) -> bytes:
    """Return an archive, made without our code; *changes* go into its manifest."""
    about = {
        "format": 1,
        "instance": "default",
        "tunnel_id": TUNNEL_ID,
        "domain": openssl.DOMAIN,
        "made_at": MADE_AT,
        "made_by": "9.8.7",
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        **changes,
    }
    if "ca_fingerprint" not in about:
        about["ca_fingerprint"] = fingerprint(files["ca.crt"].decode())
    return tar(
        [("manifest.json", json.dumps(about).encode())]
        + [(f"state/{name}", data) for name, data in files.items()]
    )


def fingerprint(pem: str) -> str:
    """Return what openssl says."""
    text = openssl.run("x509", "-noout", "-fingerprint", "-sha256", stdin=pem)
    return text.strip().partition("=")[2].replace(":", "").lower()


def tar(members: list[tuple[str, bytes]], kind: bytes = tarfile.REGTYPE) -> bytes:
    """Return an archive of these names and contents."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as made:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            member.type = kind
            made.addfile(member, io.BytesIO(content))
    return stream.getvalue()
