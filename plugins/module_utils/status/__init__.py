# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The status of this host's instances, as one document of plain values and as tables for people.

``document`` puts it together of the parts in ``health``, ``deployment``, ``renewal`` and
``traffic``.
``tables`` shows it; it alone imports rich, a library of the commands. Nothing is changed here.

Called by ``commands``. Imports ``replica``, ``firewall``, ``pki``, ``host`` and ``core``.
"""
