"""The Debian mirror of this machine, according to its own apt."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..core.errors import LabError
from ..core.processes import run

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_RELEASES = ("bullseye", "bookworm", "trixie", "forky", "sid")


@dataclass(frozen=True)
class Mirror:
    """A Debian archive and how to reach it.

    Attributes:
        url: as mmdebstrap takes it.
        environment: the proxies of apt's configuration, as wget takes them.
    """

    url: str
    environment: dict[str, str] = field(default_factory=dict)


def _setting(name: str) -> str:
    return run(["apt-config", "dump", "--format", "%v%n", name]).strip()


def find_mirror() -> Mirror:
    """Asks apt for the mirror.

    Raises:
        LabError: no source is a Debian archive that mmdebstrap can use.
    """
    targets = run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME) $(COMPONENT)"])
    for line in targets.splitlines():
        url, _, rest = line.partition(" ")
        codename, _, component = rest.partition(" ")
        debian = codename in _RELEASES and component == "main"
        if debian and url.startswith(("http://", "https://", "file:")):
            break
    else:
        raise LabError(
            "apt: no source of this machine is a Debian archive (http, https or file) with the "
            "component main; add one to /etc/apt/sources.list.d and run `apt-get update`"
        )
    environment = {}
    for scheme in ("http", "https"):
        proxy = _setting(f"Acquire::{scheme}::Proxy")
        if proxy and proxy != "DIRECT":
            environment[f"{scheme}_proxy"] = proxy
    return Mirror(url.rstrip("/"), environment)
