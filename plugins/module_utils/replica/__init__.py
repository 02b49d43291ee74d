# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A replica: its releases, the state of its services, and its health.

``releases`` is /opt/mcp-tunnel, ``state`` the work of module replica, ``services`` how it restarts
and reloads, ``records`` what it remembers; ``drain`` keeps it away from the edge; ``health`` is the
work of replica_health, with a file for each layer that needs one; ``renewal`` asks whether the
replica could renew its certificate.

Called by the modules replica, replica_drain, release_tree, replica_health, host_check and reboot,
by ``commands``, and by action plugins for constants. Imports ``pki``, ``host`` and
``core``.
"""
