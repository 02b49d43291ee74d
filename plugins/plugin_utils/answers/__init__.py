# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The code that runs a module on a host, and takes only the expected parts of its answer.

``checked_module`` is the base of our action plugins, ``rules`` are theirs for values, ``answers``
refuses or reduces an answer, ``own_names`` finds facts that bear the name of a variable of ours.

Called by action plugins only. Imports ``preflight`` and ``core`` of module_utils.
"""
