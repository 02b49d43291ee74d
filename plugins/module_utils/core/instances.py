# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of instances: they become parts of paths and of units' names."""

from __future__ import annotations

import re

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError

INSTANCE = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")


def check_instance(name: str) -> str:
    """Returns the name of an instance.

    The preflight has checked it on the controller, but a module that writes and removes files of
    that name does not rely on that check.

    :raises TunnelError: if it is not a name of an instance.
    """
    if not INSTANCE.fullmatch(name):
        raise TunnelError(
            "instance",
            f"{name!r} is no name of an instance",
            "Use up to 32 lower-case letters, digits and hyphens, like default",
        )
    return name
