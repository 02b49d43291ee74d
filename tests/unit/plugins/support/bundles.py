"""Bundles that are made by hand, as docs/air-gapped.md describes them, and caches of releases."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from ansible_collections.mcp_tunnels import stack
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller import cache
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases import places


def _version() -> str:
    """Return the version of the collection under test, a checkout or an installed one."""
    root = Path(stack.__path__[0])
    if (root / "galaxy.yml").is_file():
        return str(yaml.safe_load((root / "galaxy.yml").read_text())["version"])
    return str(json.loads((root / "MANIFEST.json").read_text())["collection_info"]["version"])


VERSION = _version()


def write_bundle(
    directory: Path,
    files: Mapping[str, bytes],
    made_by: str = VERSION,
    about: Mapping[str, str] | None = None,
) -> Path:
    """Write a bundle of the files (name to content), made by that version of the collection.

    *about* goes into the entry of each file.
    """
    directory.mkdir(mode=0o755)
    entries = []
    for name, content in files.items():
        (directory / name).write_bytes(content)
        part, _dash, version = name.removesuffix(".tar.gz").partition("-")
        digest = hashlib.sha256(content).hexdigest()
        entry = {"file": name, "sha256": digest, "part": part, "version": version}
        entries.append({**entry, **(about or {})})
    manifest = {
        "format": 1,
        "collection": {"name": "mcp_tunnels.stack", "version": made_by},
        "files": entries,
    }
    (directory / "manifest.json").write_text(json.dumps(manifest))
    return write_sums(directory)


def write_sums(directory: Path) -> Path:
    """Write the sums of all files of a bundle."""
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(directory.iterdir())
        if path.name != "SHA256SUMS"
    ]
    (directory / "SHA256SUMS").write_text("".join(lines))
    return directory


def pack_bundle(directory: Path) -> Path:
    """Pack a bundle's directory into a tar archive beside it, and return that one's path."""
    target = directory.with_suffix(".tar")
    with tarfile.open(target, "w") as archive:
        for path in sorted(directory.iterdir()):
            archive.add(path, path.name)
    return target


def pack_program(content: bytes, name: str = "bin/cloudflared") -> bytes:
    """Pack a program as the only file of a release."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(content), 0o755
        archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def empty_controller(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give this process an empty cache, no seed (``no-seed``), and an index that has nothing."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(directory / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setattr(places, "SEED", directory / "no-seed")


def in_cache(version: str, archive: bytes = b"packed") -> None:
    """Put an archive into the cache, as if an earlier run had made it."""
    root = cache.cache_root()
    root.mkdir(parents=True, mode=0o700, exist_ok=True)
    digest = hashlib.sha256(archive).hexdigest().encode()
    for suffix, content in (("", archive), (".sha256", digest)):
        path = root / f"proxy-{version}.tar.gz{suffix}"
        path.write_bytes(content)
        path.chmod(0o600)
