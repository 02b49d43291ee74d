"""The corpus of a target: an archive of inputs that reach every branch known to be reached.

Usage: corpus.py unpack TARGET DIRECTORY, or corpus.py keep TARGET [DIRECTORY...]. The latter adds
the inputs in each DIRECTORY, drops those that reach nothing new, and writes the archive again.

An input is named by its SHA-1, as libFuzzer does it. One that broke an invariant once, and reaches
no branch of its own, gets a name in words: ``keep`` never drops it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile, ZipInfo

FUZZ = Path(__file__).parent
_DIGEST = re.compile("[0-9a-f]{40}")


def archive(target: str) -> Path:
    """Return the path of the corpus of *target*."""
    return FUZZ / "corpus" / f"{target}.zip"


def unpack(target: str, directory: Path) -> list[Path]:
    """Write the inputs of *target* to *directory*, which need not exist; returns them, sorted."""
    directory.mkdir(parents=True, exist_ok=True)
    with ZipFile(archive(target)) as packed:
        names = sorted(packed.namelist())
        for name in names:
            # Of our own repository; still, nothing is written beside the directory.
            (directory / Path(name).name).write_bytes(packed.read(name))
    return [directory / name for name in names]


def keep(target: str, more: Sequence[Path]) -> None:
    """Make the archive of *target* anew, from its own inputs and those in *more*."""
    with tempfile.TemporaryDirectory() as scratch:
        before, after = Path(scratch, "before"), Path(scratch, "after")
        before.mkdir()
        after.mkdir()
        if archive(target).exists():
            unpack(target, before)
        for path in (path for place in (before, *more) for path in place.iterdir()):
            if not _DIGEST.fullmatch(path.name):
                shutil.copy(path, after)
        subprocess.run(  # noqa: S603 - our own command line
            [
                *(sys.executable, str(FUZZ / "run.py"), target),
                # The fewest inputs for all branches, however often each one is passed.
                *("-set_cover_merge=1", "-use_counters=0"),
                *(str(path) for path in (after, before, *more)),
            ],
            check=True,
        )
        _pack(target, after)


def _pack(target: str, directory: Path) -> None:
    """Pack the same inputs into the same bytes for everyone: ZipInfo has no date and no user."""
    # Not compressed: versions of zlib differ, and git compresses what it stores.
    with ZipFile(archive(target), "w", ZIP_STORED) as packed:
        for path in sorted(directory.iterdir()):
            packed.writestr(ZipInfo(path.name), path.read_bytes())


if __name__ == "__main__":
    verb, name, *places = sys.argv[1:]
    if verb == "unpack":
        unpack(name, Path(places[0]))
    else:
        keep(name, [Path(place) for place in places])
