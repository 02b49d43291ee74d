# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Code that only the controller runs; modules cannot import it.

``answers`` imports from ``preflight``, that from ``releases``, and that from ``controller``; all of
them from module_utils.
"""
