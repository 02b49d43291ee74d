# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The base that every part of the collection uses: errors, checked values, files with secrets.

Errors with a remedy (``errors``), a module that logs no option (``quiet_module``), rules for single
values (``values``, ``names``, ``duration``, ``instances``, ``token``), files that are whole or
absent (``secret_files``, ``state_files``), and encrypted where that is wanted (``at_rest``), tables
for people (``text_table``), and facts that more than one room relies on (``paths``, ``dialling``).

Called by all other rooms, modules and controller code. Imports no other room.
"""
