# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where an archive waits on its host for the controller, and in which parts it goes there."""

from __future__ import annotations

import os

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.instances import check_instance

DIRECTORY = "/var/lib/mcp-tunnel-support"
#: Bytes in one answer of a host; in base64, they are a text of 240 kB.
PART = 180 * 1024


def path(instance: str) -> str:
    """The archive about an instance.

    :raises TunnelError: if that is no name of an instance.
    """
    return os.path.join(DIRECTORY, f"{check_instance(instance)}.tar.gz")
