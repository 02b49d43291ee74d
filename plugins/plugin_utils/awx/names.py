# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables that are named like those of the role awx, and are none: nothing would read them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import role_options

_PREFIX = "mcp_tunnel_awx_"


def check(names: Iterable[object]) -> Iterator[TunnelError]:
    """One problem for each name that begins like ours and is none."""
    known = role_options.of_awx()
    for name in sorted(map(str, names)):
        if name.startswith(_PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, 1)
            meant = f"Perhaps {near[0]} is meant" if near else "docs/variables.md has all names"
            yield TunnelError(ascii(name[:64])[1:-1], "is no variable of the role awx", meant)
