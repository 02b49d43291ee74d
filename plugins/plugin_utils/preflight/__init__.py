# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The conclusions that the controller draws from variables before it touches any host.

``settings`` has the rules for a replica's variables, with a file for each subject: ``cloudflared``,
``firewall``, ``upstreams``, ``routes``, ``wif``, ``credentials``. ``proxy_config`` writes the
proxy's file and lets the proxy's own code judge it. ``neighbours`` compares the hosts of the group,
each read once; ``shared_problems`` are told by one of the hosts that have them. ``plan`` is what
follows from a host's variables; ``role_options`` are the declared options.

Called by action and filter plugins and by ``answers``. Imports ``releases`` and module_utils. No
module imports it: it is not shipped to hosts.
"""
