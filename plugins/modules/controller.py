#!/usr/bin/python
# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: controller
short_description: Gets ready on the controller what its hosts lack
version_added: 0.1.0
description:
  - Finds the releases that hosts do not run in a bundle or in the controller's cache, or makes
    them, so that shipping them to the hosts cannot fail on the controller.
  - Fails if no tunnel can get all that its hosts lack, with each problem once. If some can, those
    that cannot are returned.
  - With C(mcp_tunnel_bundle), everything has to be in that bundle, but a cloudflared binary of
    C(cloudflared_binary_file). Without, the places are
    C(/usr/share/mcp_tunnels.stack/bundle), if it is there, and the cache. A file that neither has
    is assembled with C(pip) for Ansible's own Python, or downloaded.
  - Does the same in check mode, so that a run finds what check mode has found. The files stay
    in the controller's cache.
  - Works with what M(mcp_tunnels.stack.settings), M(mcp_tunnels.stack.preflight),
    M(mcp_tunnels.stack.host_check) and M(mcp_tunnels.stack.reached) have found for the hosts of the
    play, registered as in C(site).
  - Runs on the controller, without a connection.
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
attributes:
  diff_mode:
    support: none
    description: No host is ever changed.
options: {}
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: Get ready on the controller what the hosts lack
  mcp_tunnels.stack.controller:
  register: __mcp_tunnel_ready
  run_once: true
"""

RETURN = r"""
stopped:
  description: Instances with a host for which something cannot be had, and their problems.
  type: dict
  returned: success
  sample:
    edge: ["cloudflared_version: 2026.11.1 has no pinned SHA-256 for aarch64."]
problems:
  description: Everything that is wrong, with the remedy.
  type: list
  returned: failure
  elements: str
"""
