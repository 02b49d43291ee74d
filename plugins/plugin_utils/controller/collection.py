# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""This collection on the controller: its name, its version, its directory."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import yaml
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError

NAME = "mcp_tunnels.stack"
ROOT = Path(__file__).resolve().parents[3]


@functools.cache
def version() -> str:
    """The version, from the file that an installed collection has, or from that of a checkout.

    :raises TunnelError: if neither file states one.
    """
    try:
        if (ROOT / "MANIFEST.json").is_file():
            text = (ROOT / "MANIFEST.json").read_text(encoding="utf-8")
            return str(json.loads(text)["collection_info"]["version"])
        text = (ROOT / "galaxy.yml").read_text(encoding="utf-8")
        return str(yaml.safe_load(text)["version"])
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        raise TunnelError(
            f"the collection {NAME} at {ROOT}", "does not state its version", "Install it anew"
        ) from None
