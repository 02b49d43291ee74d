# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The vendor's API: exchange of an identity token, access tokens, and the Tunnels API itself.

``tunnels_api`` is the client, ``objects`` and ``errors`` are its results, ``options`` are those
of every module that calls it; ``federation`` exchanges tokens, and ``session_file`` lets the tasks
of one play share the access token.

Called by ``provision``, the modules of programmatic access, the preflight and the lookup. Imports
``identity``, ``web`` and ``core``.
"""
