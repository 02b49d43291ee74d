# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases as the controller makes them: from pins and locks to an archive in its cache.

``proxy`` and ``cloudflared`` are the two parts, ``pins`` the trusted downloads of the latter,
``command_source`` what the commands of a release need of module_utils, ``pip_settings`` and
``controller_tools`` what an assembly needs of the controller; ``openpgp`` reads keys of package
repositories.

Called by action plugins and by ``preflight``. Imports ``controller``, and ``core`` of module_utils.
"""
