# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands of the proxy's release, on a host without Ansible.

``plugin_utils.releases.command_source`` gathers a command's file and all that it imports; nothing
imports a command. A command may import ``status``, ``support`` and the rooms below them: no library
but the proxy's and those of roles/proxy/files/requirements.txt, and nothing of Ansible.
"""
