# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The conclusions that the controller draws from variables before it touches any host.

``settings`` has the rules for a replica's variables, with a file for each subject: ``cloudflared``,
``firewall``, ``upstreams``, ``routes``, ``wif``, ``credentials``. ``proxy_config`` writes the
proxy's file and lets the proxy's own code judge it. ``waves`` are those of a roll-out. ``plan`` is
what follows from a host's variables; ``role_options`` are the declared options.

Called by action and filter plugins, by ``answers`` and by ``fleet``. Imports ``releases`` and
module_utils. No module imports it: it is not shipped to hosts.
"""
