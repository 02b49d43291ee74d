#!/usr/bin/python
# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: import_deployment
short_description: Makes an inventory of a deployment by Compose or Helm
version_added: 0.1.0
description:
  - Reads what the vendor's Compose guide or Helm chart has left in C(mcp_tunnel_import_src) on the
    controller, and writes C(mcp_tunnel_import_dest), an inventory directory with the variables
    that make other hosts replicas of the same tunnel with the same CA.
  - The tunnel token and the CA's key are encrypted with the vault password of the run; without one,
    nothing is written.
  - Everything is judged before anything is written, by the rules of the preflight as well.
  - A file that is there and differs is not replaced without C(mcp_tunnel_import_replace); the one
    with the hosts is written only once.
  - Works with the variables that M(mcp_tunnels.stack.settings) has registered, as C(import) does.
  - Needs C(cryptography) for Ansible's own Python.
  - Runs on the controller, without a connection.
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
options: {}
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: Take the variables
  mcp_tunnels.stack.settings:
  register: __mcp_tunnel_settings
  no_log: true

- name: Import the deployment
  mcp_tunnels.stack.import_deployment:
"""

RETURN = r"""
msg:
  description: The files that were written, what was not taken over, and the next steps in order.
  returned: success
  type: list
  elements: str
problems:
  description: Everything that is in the way, with the remedy.
  returned: failure
  type: list
  elements: str
"""
