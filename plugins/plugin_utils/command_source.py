# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files of module_utils a command needs that runs on a host without this collection."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

#: Where they are imported from; without ``__init__.py`` these are namespace packages (PEP 420).
PACKAGE = "ansible_collections.mcp_tunnels.stack.plugins.module_utils"


def needed_files(directory: Path, name: str) -> list[Path]:
    """The file of module *name* and of all that it imports from *directory*, sorted."""
    found: set[str] = set()
    waiting = {name}
    while waiting:
        module = waiting.pop()
        found.add(module)
        waiting |= set(_imports(directory / f"{module}.py")) - found
    return sorted(directory / f"{module}.py" for module in found)


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or node.module is None:
            continue
        if node.module == PACKAGE:
            yield from (alias.name for alias in node.names)
        elif node.module.startswith(f"{PACKAGE}."):
            yield node.module[len(PACKAGE) + 1 :]
