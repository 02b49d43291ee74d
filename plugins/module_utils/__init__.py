# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Code that hosts run, and code that both sides need. A module ships only what it imports.

A room imports from those below it, as ``make lint`` checks: ``commands``; ``provision``,
``host_check`` and ``replica``; ``api`` and ``firewall``; ``identity``; ``web``, ``pki`` and
``host``; ``core``. Nothing of plugin_utils may be imported here.
"""
