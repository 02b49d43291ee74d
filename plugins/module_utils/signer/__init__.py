# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A signer of the operator's own: the CA's key is on no host of the collection.

``settings`` has the rules for the variable mcp_tunnel_signer; ``sources`` hands a request to the
one that it names: ``program`` to the operator's program, ``vault`` to HashiCorp Vault or OpenBao.
Nothing here believes their answers: ``pki.outside`` judges them.

Called by the module server_cert, by ``commands`` and the preflight. Imports ``web`` and ``core``.
"""
