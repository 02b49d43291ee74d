# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The work of the modules that get credentials: tunnel, tunnel_ca, tunnel_token, tunnel_info.

A file is one duty in the state directory or at the API; each can be killed and repeated.

Called by those modules only. Imports ``api``, ``pki`` and ``core``.
"""
