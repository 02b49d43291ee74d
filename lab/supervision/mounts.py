"""Removes directories even if something is, or was a moment ago, mounted in them."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from pathlib import Path

from ..core.errors import LabError

_SECONDS = 60.0
_OCTAL = re.compile(r"\\([0-7]{3})")


def below(path: Path) -> list[Path]:
    """Mount points at or below a path in this mount namespace, in the order of mounting."""
    # The kernel names the real paths.
    path = path.parent.resolve() / path.name
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        # proc(5): the fifth field, with spaces and the like as octal numbers.
        point = Path(_OCTAL.sub(lambda m: chr(int(m[1], 8)), line.split()[4]))
        if point == path or path in point.parents:
            found.append(point)
    return found


def detach(path: Path) -> None:
    """Takes off all mounts at or below a path, even those in use."""
    for point in reversed(below(path)):
        # Another process may have taken it off first.
        subprocess.run(["umount", "--lazy", str(point)], capture_output=True, check=False)


def remove_tree(path: Path) -> None:
    """Removes a directory with all mounts in it; it may be gone already.

    A file on which another mount namespace still has a mount is no obstacle: the kernel takes
    that mount off when the file is removed here.

    Raises:
        LabError: it cannot be removed for a minute.
    """
    deadline = time.monotonic() + _SECONDS
    while True:
        detach(path)
        try:
            shutil.rmtree(path)
        except OSError as error:
            if not path.exists():
                return
            if time.monotonic() > deadline:
                raise LabError(
                    f"{path} cannot be removed: {error}; end the programs that use it "
                    "(`fuser -vm`), then run `lab down` again"
                ) from error
            time.sleep(0.05)
        else:
            return
