# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of an instance's state: their form, their encryption, what is known of them.

Changes when a copy is made, judged or put back in another way. Called by the modules ``state_copy``
and ``state_restore``, by ``provision`` and ``replica``, and on the controller by ``backups``. May
import ``pki`` and ``core``.
"""
