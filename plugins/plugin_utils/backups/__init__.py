# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of a state on the controller: the folder in which they are kept, and their judgement.

``folder`` is that of the operator's backups, ``judge`` decrypts copies and says which one fits.
Called by the actions state_copy and state_restore. Imports ``controller``, and of module_utils
``copies``, ``provision``, ``pki`` and ``core``.
"""
