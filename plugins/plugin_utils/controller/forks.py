# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The process of ansible-playbook, which Ansible forks for each task of each host."""

from __future__ import annotations

import gc


def spare_objects() -> None:
    """Has the garbage collector leave all present objects alone, here and in all forks.

    A fork inherits the collector's counters. Once a full collection is nearly due, each fork makes
    one of its own, over all hosts, plays and plugins, and copies the memory of each object. Nearly
    all of them live until the end of the run. See gc.freeze() in Python's documentation.

    Plugins call this when they are loaded, which Ansible does before it forks.
    """
    gc.freeze()
