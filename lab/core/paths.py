"""The places where a lab keeps its files, and the names derived from a lab's name."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from .checkouts import OWN, Checkout
from .errors import LabError

# Eight characters: socket paths (up to 107) and machine names (up to 64) are made from it.
_NAME = re.compile(r"[a-z][a-z0-9]{0,7}\Z")


def cache_root() -> Path:
    """The directory for everything that survives a lab: root file systems, downloads."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "mcp-tunnel-lab"


@dataclass(frozen=True)
class LabPaths:
    """The places of one lab. Raises LabError for a name that cannot be one.

    Attributes:
        name: the lab's name, unique in its checkout.
        checkout: the working copy that it belongs to.
    """

    name: str
    checkout: Checkout = OWN

    def __post_init__(self) -> None:
        if not _NAME.match(self.name):
            raise LabError(
                f"lab name {self.name!r}: use 1 to 8 lower-case letters and digits, "
                "starting with a letter"
            )

    @property
    def label(self) -> str:
        """Unique on this machine: name of the cgroup, first part of the machines' names."""
        return f"mcptl-{self.checkout.tag}-{self.name}"

    @property
    def lock(self) -> Path:
        """Held by the lab's keeper for as long as the lab lives."""
        return self.checkout.run_root / f"{self.name}.lock"

    @property
    def run_dir(self) -> Path:
        return self.checkout.run_root / self.name

    @property
    def network(self) -> Path:
        """The lab's network namespace, for `nsenter --net=`.

        Not in /run/netns: the first `ip netns add` of anybody makes that directory a mount point
        of its own and hides the namespaces' mounts below it, which then can never be removed.
        """
        return self.run_dir / "network"

    @property
    def facts(self) -> Path:
        """Exists exactly while the lab is ready."""
        return self.run_dir / "lab.json"

    @property
    def state(self) -> Path:
        """The supervisor's knowledge of its processes."""
        return self.run_dir / "state.json"

    @property
    def keeper(self) -> Path:
        """PID and start time of the keeper."""
        return self.run_dir / "keeper.json"

    @property
    def crash(self) -> Path:
        """A note of the lab's unexpected end; outlives the run directory."""
        return self.checkout.run_root / f"{self.name}.crash"

    @property
    def spec(self) -> Path:
        return self.run_dir / "spec.json"

    @property
    def logs(self) -> Path:
        return self.run_dir / "logs"

    @property
    def ssh_config(self) -> Path:
        return self.run_dir / "ssh_config"

    def inventory(self, mode: str = "manual") -> Path:
        """The inventory of an operator who has chosen this mode."""
        return self.run_dir / ("inventory.yml" if mode == "manual" else f"inventory-{mode}.yml")

    @property
    def disks(self) -> Path:
        """The hosts' writable layers: beside the root file systems, since /run may be small."""
        return cache_root() / "labs" / self.checkout.tag / self.name
