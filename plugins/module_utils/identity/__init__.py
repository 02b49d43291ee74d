# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Identity tokens: one file for each kind of source, and ``sources``, which lists them.

A new source is a file here, with its options, and an entry in ``sources``. ``identity`` holds what
they share; ``jwt_claims`` reads a token without the issuer's keys.

Called by ``api``, the preflight and the lookup identity_token. Imports ``web`` and ``core``.
"""
