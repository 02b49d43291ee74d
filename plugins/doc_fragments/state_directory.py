# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the modules that work on the state directory of an instance."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  path:
    description:
      - State directory of the instance on the state host, for example
        V(/var/lib/mcp-tunnel/default).
      - It is created when missing, and kept with mode V(0700).
    type: path
    required: true
"""
