# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions to the host that this runs on: systemd, listeners, labels, name servers, drop-ins.

Each file asks one thing and knows nothing of replicas or rules. All but the verbs of ``systemd``
and ``file_entries``, which makes files, read only.

Called by ``firewall``, ``host_check``, ``replica`` and the module ``file_set``. Imports ``core``
only.
"""
