# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks that the host runs programs that its package manager did not install (fapolicyd)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

_UNIT = "fapolicyd.service"
_CONFIGURATION = "etc/fapolicyd/fapolicyd.conf"
# Files that say what is trusted or allowed (fapolicyd(8), fapolicyd.rules(5), fapolicyd.trust(13)).
_RULES = (
    "etc/fapolicyd/fapolicyd.trust",
    "etc/fapolicyd/trust.d/*",
    "etc/fapolicyd/compiled.rules",
    "etc/fapolicyd/fapolicyd.rules",
)
# Our releases, or a directory above.
_OURS = re.compile(r"(?:dir=|,|^)(?:/opt/mcp-tunnel(?:/|[\s,]|$)|/opt/?(?:[\s,]|$))")


def problem(is_active: Callable[[str], bool], root: Path = Path("/")) -> str:
    """Why fapolicyd would refuse our programs, with the remedy; '' if nothing shows.

    :param is_active: whether a unit of systemd runs.
    """
    if not os.path.exists(root / "etc/fapolicyd") or not is_active(_UNIT):
        return ""
    if re.search(r"^\s*permissive\s*=\s*1", _read(root / _CONFIGURATION), re.MULTILINE):
        return ""
    for pattern in _RULES:
        for path in sorted(root.glob(pattern)):
            if any(_allows(line) for line in _read(path).splitlines()):
                return ""
    return (
        "fapolicyd: is active and does not know /opt/mcp-tunnel, so the kernel would refuse the "
        "programs and libraries there. Allow them: "
        "echo 'allow perm=any all : dir=/opt/mcp-tunnel/' "
        ">/etc/fapolicyd/rules.d/80-mcp-tunnel.rules && fagenrules --load"
    )


def _allows(line: str) -> bool:
    text = line.strip()
    return not text.startswith(("#", "deny")) and bool(_OURS.search(text))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
