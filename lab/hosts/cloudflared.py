"""Chooses the connector for the hosts of a lab: the real cloudflared where it is available."""

from __future__ import annotations

import hashlib
import json
import os
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path

from ..connector.bundle import build
from ..core.errors import LabError
from ..core.paths import LabPaths, cache_root
from ..core.services import Plan, Site
from .architectures import OWN

VERSION = "2026.10.0"
_URL = "https://github.com/cloudflare/cloudflared/releases/download"
# From the vendor's release notes.
_PINS = {
    "x86_64": ("amd64", "d33ff2d14475178d2012c2c56beba87389ac5ded27649519f198a7d3134a99db"),
    "aarch64": ("arm64", "e6422b9d4f72d3194bc5a38676f13667c06666523217b842a877d72a80b5ac08"),
}
_TIMEOUT = 3.0  # seconds to connect, and between two pieces
_LARGEST = 100 << 20


@dataclass(frozen=True)
class Connector:
    """A connector binary on this machine.

    Attributes:
        path: the file that hosts get as `cloudflared`.
        description: its kind and its origin, for people.
    """

    path: str
    description: str


def provide(paths: LabPaths, architecture: str = OWN) -> Connector:
    """Chooses the connector of a lab and notes it in the lab's run directory.

    Args:
        architecture: that of the hosts.

    Raises:
        LabError: CLOUDFLARED_BINARY names something that cannot be run.
    """
    chosen = _given() or _pinned(architecture) or _stand_in(paths)
    _note(paths.run_dir).write_text(json.dumps(asdict(chosen)))
    return chosen


def plan(site: Site) -> Plan:
    """Plan the lab's facts about its connector, and the variables with which hosts get it."""
    chosen = Connector(**json.loads(_note(site.run_dir).read_text()))
    return Plan(
        facts={"cloudflared": asdict(chosen)},
        variables={
            "cloudflared_install_method": "file",
            "cloudflared_binary_file": chosen.path,
        },
    )


def _note(run_dir: Path) -> Path:
    return run_dir / "cloudflared.json"


def _given() -> Connector | None:
    name = os.environ.get("CLOUDFLARED_BINARY")
    if not name:
        return None
    path = Path(name).resolve()
    if not path.is_file() or not os.access(path, os.X_OK):
        raise LabError(f"CLOUDFLARED_BINARY={name}: not an executable file")
    return Connector(str(path), f"the cloudflared at {path} (CLOUDFLARED_BINARY)")


def _pinned(architecture: str) -> Connector | None:
    if architecture not in _PINS:
        return None
    named, checksum = _PINS[architecture]
    path = cache_root() / f"cloudflared-{VERSION}-{named}"
    if not (path.is_file() and _sha256(path.read_bytes()) == checksum):
        try:
            content = _download(f"{_URL}/{VERSION}/cloudflared-linux-{named}")
        except (OSError, urllib.error.URLError):
            return None
        if _sha256(content) != checksum:
            return None
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        partial.write_bytes(content)
        partial.chmod(0o755)
        partial.replace(path)
    return Connector(str(path), f"the real cloudflared {VERSION} (SHA-256 as pinned)")


def _download(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:
        content: bytes = answer.read(_LARGEST)
    return content


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _stand_in(paths: LabPaths) -> Connector:
    path = paths.run_dir / "cloudflared"
    build(path)
    return Connector(
        str(path),
        "the laboratory's stand-in for cloudflared: the real one could not be downloaded "
        "(CLOUDFLARED_BINARY=/path uses one that you have)",
    )
