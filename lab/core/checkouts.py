"""Each checkout has its own labs: the same name in two checkouts means two labs.

Run directories, cgroups, machine names and disks hold a tag made from the checkout's real path.
In the checkout itself the link `.build/lab` leads to its run directories, so that inventories and
ssh_config have paths that know no tag.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .errors import LabError

RUN_ROOT = Path("/run/mcp-tunnel-lab")
#: The checkout that holds this package: programs started elsewhere need it in PYTHONPATH.
ROOT = Path(__file__).resolve().parents[2]
_TAG_LENGTH = 8


@dataclass(frozen=True)
class Checkout:
    """A working copy of the project, which may be gone by now.

    Attributes:
        path: its real path.
    """

    path: Path

    @property
    def tag(self) -> str:
        """Short, and the same for as long as the checkout stays where it is."""
        return hashlib.sha256(os.fsencode(self.path)).hexdigest()[:_TAG_LENGTH]

    @property
    def run_root(self) -> Path:
        """The directory with the run directories of its labs."""
        return RUN_ROOT / self.tag

    @property
    def link(self) -> Path:
        """The same directory, as seen from the checkout."""
        return self.path / ".build/lab"

    @property
    def _note(self) -> Path:
        return self.run_root / "checkout"

    def enter(self) -> None:
        """Makes the directory of its labs and notes its checkout there. May be repeated."""
        RUN_ROOT.mkdir(mode=0o700, exist_ok=True)
        self.run_root.mkdir(mode=0o700, exist_ok=True)
        if not self._note.exists():
            _replace(self._note, lambda partial: partial.write_bytes(os.fsencode(self.path)))

    def publish(self) -> None:
        """Makes the link; also in a copy of another checkout, whose link came along.

        Raises:
            LabError: it cannot be written.
        """
        try:
            if not self.link.is_symlink() or self.link.readlink() != self.run_root:
                self.link.parent.mkdir(exist_ok=True)
                _replace(self.link, lambda partial: partial.symlink_to(self.run_root))
        except OSError as error:
            raise LabError(
                f"{self.link}: the link to this checkout's labs cannot be made: {error.strerror}; "
                "remove what stands there, and run the lab as a user who may write it"
            ) from error

    @classmethod
    def all(cls) -> list[Checkout]:
        """Every checkout of this machine that has, or had, labs."""
        found = [Path(os.fsdecode(note.read_bytes())) for note in RUN_ROOT.glob("*/checkout")]
        return [cls(path) for path in sorted(found)]


def _replace(path: Path, make: Callable[[Path], object]) -> None:
    """Makes a file under a partial name with `make`, then renames it to `path` at once."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    make(partial)
    partial.replace(path)


#: The checkout whose laboratory this is.
OWN = Checkout(ROOT)
