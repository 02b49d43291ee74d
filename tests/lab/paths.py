"""Where a lab keeps what, and the names derived from a lab's name."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from .errors import LabError

RUN_ROOT = Path("/run/mcp-tunnel-lab")
#: The directory that holds this package: what PYTHONPATH must name.
TESTS_DIR = Path(__file__).resolve().parent.parent

# Eight characters: interface names (15) and socket paths (107) are made from it.
_NAME = re.compile(r"[a-z][a-z0-9]{0,7}\Z")


def cache_root() -> Path:
    """What survives a lab: root file systems, downloads."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "mcp-tunnel-lab"


@dataclass(frozen=True)
class LabPaths:
    """The places of one lab. Raises LabError for a name that cannot be one."""

    name: str

    def __post_init__(self) -> None:
        if not _NAME.match(self.name):
            raise LabError(
                f"lab name {self.name!r}: use 1 to 8 lower-case letters and digits, "
                "starting with a letter"
            )

    @property
    def namespace(self) -> str:
        """Name of the network namespace, and of the cgroup."""
        return f"mcptl-{self.name}"

    @property
    def lock(self) -> Path:
        """Held by the lab's keeper for as long as the lab lives."""
        return RUN_ROOT / f"{self.name}.lock"

    @property
    def run_dir(self) -> Path:
        return RUN_ROOT / self.name

    @property
    def facts(self) -> Path:
        """Exists exactly while the lab is ready."""
        return self.run_dir / "lab.json"

    @property
    def state(self) -> Path:
        """What the supervisor knows of its processes."""
        return self.run_dir / "state.json"

    @property
    def keeper(self) -> Path:
        """PID and start time of the keeper."""
        return self.run_dir / "keeper.json"

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
        return cache_root() / "labs" / self.name
