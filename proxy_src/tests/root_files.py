"""Files that root leaves for the proxy: the ways in which each of them can be unusable."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

Make = Callable[[Path], None]


def nothing(path: Path) -> None:
    """Leaves out the file."""


def text(content: str) -> Make:
    """Return what makes a file with this content."""
    return lambda path: path.write_text(content) and None


#: How to make a file that cannot be read, whatever its content should be, and the problem.
UNREADABLE: list[tuple[Make, str]] = [
    (nothing, "cannot read it: No such file or directory"),
    (Path.mkdir, "cannot read it: Is a directory"),
    (os.mkfifo, "not a regular file"),
    (text(" " * 300_000), "larger than 256 KiB"),
]
