# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Careful roll-outs: who goes first, for how long it is watched, and whether it does worse.

``window`` has the times at which a run may change something; ``canaries`` the replicas that go
first, and their time; ``figures`` the counts of a proxy over a time; ``proportions`` the
statistical test; ``comparison`` its use on the figures of a canary.

Called by ``preflight``, ``fleet`` and actions. Imports ``core`` of module_utils.
"""
