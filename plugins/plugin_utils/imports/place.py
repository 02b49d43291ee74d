# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a directory can be the place of the imported inventory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import secret_files
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller.private_path import (
    check_unchangeable,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.imports.inventory import (
    EMPTY_HOSTS,
    HEADER,
    HOSTS,
    SUBJECT,
    VARIABLES,
    VAULT,
)

_ELSEWHERE = "Set it to a directory of its own, such as one that is not there yet"


def check(root: Path, src: Path) -> None:
    """Checks the absolute path of the inventory.

    :param src: that of the deployment, which is to be removed afterwards.
    :raises TunnelError: if it cannot be the place of one, others can change it, or one is there
        that import has not written.
    """
    if not root.parent.is_dir() or (root.exists() and not root.is_dir()):
        raise TunnelError(
            SUBJECT,
            f"is {str(root)!r}, which is no directory, and none that can be made",
            "Set it to the directory of an inventory",
        )
    _check_apart(root.resolve(), src.resolve())
    for part in (root.parent, root, root / "group_vars", (root / VAULT).parent):
        if os.path.lexists(part):
            _check_part(part)
    if root.is_dir() and not _begins(root / VARIABLES, HEADER):
        _check_empty(root)


def _check_apart(root: Path, src: Path) -> None:
    if src in (root, *root.parents):
        raise TunnelError(
            SUBJECT, "is within mcp_tunnel_import_src, which is to be removed later", _ELSEWHERE
        )
    if root in src.parents:
        problem = "has mcp_tunnel_import_src in it, and Ansible reads everything in an inventory"
        raise TunnelError(SUBJECT, problem, _ELSEWHERE)


def _check_part(part: Path) -> None:
    try:
        check_unchangeable(part, _changeable)
    except OSError as error:
        raise TunnelError(
            str(part), f"cannot be looked at: {error.strerror}", "Name another place"
        ) from None


def _changeable(found: Path, problem: str) -> TunnelError:
    return TunnelError(
        SUBJECT, f"{found} {problem}, and so could change the inventory", "Revoke that permission"
    )


def _check_empty(root: Path) -> None:
    """Whether a directory without our variables has nothing but what a killed run has left."""
    if strange := next(_strange(root), None):
        raise TunnelError(
            SUBJECT,
            f"is an inventory that import has not written: it has {strange}. Its hosts would "
            "become replicas of the imported tunnel",
            _ELSEWHERE,
        )


def _strange(root: Path) -> Iterator[Path]:
    known = {root / VAULT, *(root / VAULT).parents}
    if _begins(root / HOSTS, EMPTY_HOSTS.partition("\n")[0]):
        known.add(root / HOSTS)
    for directory in (root, root / "group_vars", (root / VAULT).parent):
        for path in sorted(directory.iterdir()) if directory.is_dir() else ():
            # Ansible reads none whose name begins with a dot; killed runs leave such.
            if path not in known and not path.name.startswith("."):
                yield path


def _begins(path: Path, beginning: str) -> bool:
    """Whether that is the beginning of the file."""
    try:
        content = secret_files.read_file(str(path))
    except (OSError, TunnelError):
        return False
    return content is not None and content.startswith(beginning.encode())
