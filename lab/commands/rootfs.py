"""The command that builds root file systems.

It imports nothing but the standard library: ``make demo`` begins with it.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..core.progress import Progress
from ..hosts import rootfs
from ..hosts.architectures import OWN

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parsers(subparsers: Subparsers) -> None:
    """Adds rootfs."""
    trees = subparsers.add_parser("rootfs", help="build the hosts' root file systems in advance")
    trees.add_argument("releases", nargs="+", metavar="RELEASE", help="11 to 14")
    trees.add_argument("--architecture", default=OWN, help="x86_64, aarch64")
    trees.set_defaults(run=_rootfs)


def _rootfs(arguments: argparse.Namespace) -> int:
    progress = Progress()
    trees = rootfs.ensure_all(arguments.releases, progress, arguments.architecture)
    progress.clear()
    for release, tree in trees.items():
        print(f"Debian {release}: {tree}")
    return 0
