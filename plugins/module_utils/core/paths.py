# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Places of a host that more than one part of the collection relies on."""

from __future__ import annotations

# The interpreter of services and releases: the one that the operating system keeps patched.
PYTHON = "/usr/bin/python3"
