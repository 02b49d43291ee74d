# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The work of module host_check: finds what a host lacks to become a replica. Reads only.

``facts`` gathers, and raises every reason at once; ``firewall`` and ``nft_support`` are about the
rules, ``program_control`` about fapolicyd, ``cloudflared`` about foreign configuration.

Called by host_check, and by its action plugin for constants. Imports ``firewall``, ``host`` and
``core``.
"""
