# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An archive with what support needs, and without a secret.

``sources`` lists what goes in, ``bounded`` runs programs within limits, ``hashes`` tells programs
and units apart, ``redaction`` cleans configuration. ``secrets`` knows what must not get out and
``search`` finds it in any coding; ``archive`` puts all of it together, and searches the finished
archive once more; ``transfer`` is how it gets to the controller.

Only the standard library is used: the module ``support`` has to work on a host whose release is
missing or broken.

Called by ``commands`` and the module support. Imports ``replica``, ``firewall``, ``host`` and
``core``.
"""
