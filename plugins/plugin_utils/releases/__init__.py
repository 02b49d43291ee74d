# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases as the controller has them: from pins and locks, or a bundle, to an archive for a host.

``proxy`` and ``cloudflared`` are the two parts, ``compiled`` the former's compiled modules,
``pins`` the trusted downloads of the latter, ``command_source`` what the commands of a release need
of module_utils, ``pip_settings`` what an assembly takes over from pip's configuration;
``repository_key`` and ``openpgp`` are about keys of package repositories.

``places`` knows where a file is found before it is made; ``bundle`` is one of them.
``controller_tools`` gets files ready, ``readiness`` those that hosts lack, ``assembly`` those for a
new bundle.

Called by action plugins and by ``preflight``. Imports ``controller``, and ``core`` of module_utils.
"""
