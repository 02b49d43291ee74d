# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives whose bytes depend on nothing but the names, modes and contents of their files."""

from __future__ import annotations

import gzip
import os
import tarfile
from pathlib import Path
from typing import BinaryIO


def pack(tree: Path, target: Path) -> None:
    """Write *tree* to *target* as tar.gz: sorted, owned by root, without times.

    A file that its owner may execute becomes 0755, another one 0644; directories are not stored.
    """
    files = sorted(path for path in tree.rglob("*") if path.is_file())
    with target.open("wb") as raw, _gzip(raw) as packed, _tar(packed) as archive:
        for path in files:
            member = tarfile.TarInfo(path.relative_to(tree).as_posix())
            member.size = path.stat().st_size
            member.mode = 0o755 if os.access(path, os.X_OK) else 0o644
            with path.open("rb") as content:
                archive.addfile(member, content)


def _gzip(raw: BinaryIO) -> gzip.GzipFile:
    return gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=6, mtime=0)


def _tar(packed: gzip.GzipFile) -> tarfile.TarFile:
    return tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT)
