# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The nftables table of a host: its files, its rules in the kernel, and the way back.

``state`` is the work of module firewall, ``report`` that of firewall_info. ``table`` runs nft;
``listing`` and ``rows`` read what it says; ``files`` and ``records`` are on disk; ``accounts`` are
users in rules; ``rollback_timer`` takes rules back unless it is stopped. ``containment`` shuts a
host that was broken into, by a table of its own.

Called by the modules firewall, firewall_info, containment and replica_health, and by
``host_check``. Imports ``host`` and ``core``.
"""
