"""The files that state the version of this collection, and the one setter for all of them."""

from __future__ import annotations

import re
from pathlib import Path

from .refused import Refused
from .version import Version

#: Path, and the line that states the version. The proxy's version is the collection's: hosts get
#: both from one archive.
PLACES = {
    "galaxy.yml": re.compile(r"^(version: )(\S+)$", re.M),
    "proxy_src/pyproject.toml": re.compile(r'^(version = ")([^"\n]+)(?=")', re.M),
    "proxy_src/src/mcp_proxy/__init__.py": re.compile(r'^(__version__ = ")([^"\n]+)(?=")', re.M),
}


def read(root: Path) -> Version:
    """The version that all places state.

    :raises Refused: if one has no such line, or several, or they differ.
    """
    stated = {path: _stated(root / path, path) for path in PLACES}
    if len(set(stated.values())) > 1:
        listed = ", ".join(f"{path} states {version}" for path, version in stated.items())
        raise Refused(f"version: {listed}. Make them equal.")
    return Version.parse(stated["galaxy.yml"])


def write(root: Path, version: Version) -> None:
    """State the version in all places.

    :raises Refused: see :func:`read`.
    """
    read(root)
    for path, line in PLACES.items():
        text = (root / path).read_text(encoding="utf-8")
        (root / path).write_text(line.sub(rf"\g<1>{version}", text), encoding="utf-8")


def _stated(file: Path, path: str) -> str:
    found = [match[2] for match in PLACES[path].finditer(file.read_text(encoding="utf-8"))]
    if len(found) != 1:
        raise Refused(f"{path}: {len(found)} lines state the version. Leave one.")
    return str(found[0])
