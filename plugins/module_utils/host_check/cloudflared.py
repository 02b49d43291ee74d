# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Foreign configuration files of cloudflared on a host. Reads only.

cloudflared looks for one by itself, and its rules win over our ``--url`` (vendor reference, section
8). Our unit hides these directories from it, so an operator who has such a file should know that
our cloudflared ignores it.
"""

from __future__ import annotations

from pathlib import Path

#: Where cloudflared looks beside its home, which our unit sets to a place that does not exist.
DIRECTORIES = ("etc/cloudflared", "usr/local/etc/cloudflared")
_NAMES = ("config.yml", "config.yaml")


def foreign_files(root: Path = Path("/")) -> list[str]:
    """Paths of the configuration files of another cloudflared on this host."""
    paths = [root / directory / name for directory in DIRECTORIES for name in _NAMES]
    return [str(path) for path in paths if path.is_file()]


def warnings(root: Path = Path("/")) -> list[str]:
    """One warning for each foreign configuration file."""
    return [
        f"{path}: is a configuration of another cloudflared on this host. Ours does not see it; a "
        "setting that is meant for ours belongs into the variables cloudflared_*. Remove the file "
        "if nothing uses it."
        for path in foreign_files(root)
    ]
