# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the files of module_utils for commands on a host without this collection."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

#: Where they are imported from; without ``__init__.py`` these are namespace packages (PEP 420).
PACKAGE = "ansible_collections.mcp_tunnels.stack.plugins.module_utils"
_OWN_LINES = re.compile(
    rf"^[ \t]*(from {re.escape(PACKAGE)}[\w.]* import (?:\([^()]*\)|[^()\\;\n]+))$", re.MULTILINE
)


def needed_files(directory: Path, *names: str) -> list[Path]:
    """The files of the modules *names* and of all that they import from *directory*, sorted.

    Each file is parsed once in a process. Runs have one for each task of each host, which asks for
    up to three releases.

    :param names: dotted, from *directory* on: ``folder.file``.
    """
    found: set[Path] = set()
    waiting = {_file(directory, name) for name in names}
    while waiting:
        path = waiting.pop()
        found.add(path)
        waiting |= set(_imports(directory, path)) - found
    return sorted(found)


def _imports(directory: Path, path: Path) -> Iterator[Path]:
    for node in _from_imports(path.read_text(encoding="utf-8")):
        if f"{node.module}.".startswith(f"{PACKAGE}."):
            module = str(node.module)[len(PACKAGE) + 1 :]
            for alias in node.names:
                inner = f"{module}.{alias.name}".lstrip(".")
                # The imported name is a file, or something in one.
                yield _file(directory, inner if _file(directory, inner).is_file() else module)


@functools.cache
def _from_imports(text: str) -> list[ast.ImportFrom]:
    """The statements ``from … import …`` of a program; those of PACKAGE are among them.

    Statements on lines of their own are parsed alone, which costs a tenth of the whole file.
    """
    trees = [ast.parse(statement) for statement in _OWN_LINES.findall(text)]
    if PACKAGE in _OWN_LINES.sub("", text):
        trees = [ast.parse(text)]
    return [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]


def _file(directory: Path, name: str) -> Path:
    return directory.joinpath(*name.split(".")).with_suffix(".py")
