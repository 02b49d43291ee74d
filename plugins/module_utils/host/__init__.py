# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions to the host that this runs on: systemd, listeners, labels, name servers, drop-ins.

Each file asks one thing and knows nothing of replicas or rules. All but the verbs of ``systemd``,
``file_entries``, which makes files, and ``unit_secrets``, which encrypts secrets where their units
read them so, read only.

Called by ``firewall``, ``host_check``, ``replica`` and the modules ``containment``, ``file_set``
and ``tunnel_ca``. Imports ``core`` only.
"""
