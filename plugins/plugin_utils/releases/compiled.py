# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proxy's compiled modules, as ``make wheels`` leaves them in ``proxy_src/wheels``.

A wheel counts for exactly the source that it was made of, whose digest ends its version, and for
the Python, the architecture and the C library in its tags (PEP 425, PEP 600). Without one that
fits, a release has the source alone. With one it has both: Python takes an extension module before
a source file of the same name.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError

#: The distribution's name in the names of wheels.
NAME = "mcp_proxy_compiled"
SUMS = "SHA256SUMS"
_ANEW = "Run make wheels again, or remove proxy_src/wheels: releases are the source alone then"


@dataclass(frozen=True)
class Wheel:
    """Compiled modules, known by the SHA-256 of their wheel in hex.

    :param path: the wheel; ``None`` if only a release in a bundle has its content.
    """

    sha256: str
    path: Path | None = None

    def unpack(self, lib: Path) -> None:
        """Puts its files into the directory *lib*.

        :raises TunnelError: if the wheel is not there, or not what it was.
        """
        with zipfile.ZipFile(io.BytesIO(_checked(self.path, self.sha256))) as archive:
            archive.extractall(lib)


def source_digest(package: Path) -> str:
    """16 hex digits that change with the name or content of any source file of *package*."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def wheel_for(source: Path, tags: Iterable[str]) -> Wheel | None:
    """The wheel in *source*, a ``proxy_src``, that has one of *tags* and was made of it, if any.

    :raises TunnelError: if there is one, and ``SHA256SUMS`` beside it says something else.
    """
    directory = source / "wheels"
    if not directory.is_dir():
        return None
    digest = source_digest(source / "src" / "mcp_proxy")
    found = [path for tag in tags for path in directory.glob(f"{NAME}-*+{digest}-{tag}.whl")]
    if not found:
        return None
    sha256 = _sums(directory / SUMS).get(found[0].name, "")
    _checked(found[0], sha256)
    return Wheel(sha256, found[0])


def _sums(path: Path) -> dict[str, str]:
    """File name to SHA-256; empty if there is no such file."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    pairs = (line.split("  ", 1) for line in lines if "  " in line)
    return {name: sha256 for sha256, name in pairs}


def _checked(path: Path | None, sha256: str) -> bytes:
    try:
        content = path.read_bytes() if path else b""
    except OSError as error:
        raise TunnelError(str(path), f"cannot be read: {error.strerror}", _ANEW) from None
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        says = f"says {sha256}" if sha256 else "does not name it"
        raise TunnelError(str(path), f"its SHA-256 is {found}, {SUMS} {says}", _ANEW)
    return content
