"""Search of a saved image: every file of every layer, and what archives among them hold."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

#: A whole key, not a program's or a test's mention of one.
_PRIVATE_KEY = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\r?\n"
    rb"(?:[A-Za-z0-9+/=]{40,}\r?\n)+[A-Za-z0-9+/=\r\n]*-----END"
)
_GZIP = b"\x1f\x8b"


def search(saved: Path, needles: Sequence[str]) -> list[str]:
    """Where a needle is, in any of its codings, or a private key; never the needle itself."""
    forms = [_forms(needle) for needle in needles]
    found = set()
    for name, content in _files("", saved.read_bytes()):
        for number, codings in enumerate(forms):
            if any(coding in content for coding in codings):
                found.add(f"{name}: needle {number}")
        if _PRIVATE_KEY.search(content):
            found.add(f"{name}: a private key")
    return sorted(found)


def _forms(needle: str) -> list[bytes]:
    """A text as it is, in hexadecimal, and in Base64 at each of the three places in a group."""
    raw = needle.encode()
    codings = [raw, raw.hex().encode()]
    for shift in range(3):
        coded = base64.b64encode(b"x" * shift + raw)
        codings.append(coded[4 if shift else 0 : -4])
    return codings


def _files(name: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    """A file, and the files in it if it is an archive."""
    if content.startswith(_GZIP):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError):
            yield name, content
            return
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isreg() else None
                if file:
                    yield from _files(f"{name}/{member.name}".lstrip("/"), file.read())
    except tarfile.TarError:
        yield name, content


def example(directory: Path, needle: str) -> Path:
    """A saved image with the needle in several places, for a test of the search itself."""
    key = "-----BEGIN PRIVATE KEY-----\n" + "A" * 64 + "\n-----END PRIVATE KEY-----\n"
    layer = _packed(
        {
            "etc/plain": f"token={needle}".encode(),
            "etc/quoted": base64.b64encode(f'{{"t": "{needle}"}}'.encode()),
            "etc/harmless": b"-----BEGIN PRIVATE KEY-----",
            "srv/packed.tar.gz": gzip.compress(_packed({"inner": needle.encode()})),
            "srv/server.key": key.encode(),
        }
    )
    config = json.dumps({"config": {"Env": [f"TOKEN={needle}"]}}).encode()
    path = directory / "example.tar"
    path.write_bytes(_packed({"layer.tar": layer, "config.json": config}))
    return path


def _packed(files: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return target.getvalue()
