# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""AWX and Tower: their objects, and the project with the playbooks of their jobs.

``kinds`` are the lists of objects, in the order in which they are made, and what refers to what;
``objects`` merges and judges them, ``workflows`` orders the nodes of one, ``documented`` compares
them with the documented options of ``awx.awx``, ``failures`` says what to do when AWX refuses one,
``names`` finds misspelt variables. ``project`` writes the files of a project.

Called by action plugins. Imports ``preflight`` and the rooms below it.
"""
