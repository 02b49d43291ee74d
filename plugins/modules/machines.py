#!/usr/bin/python
# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: machines
short_description: Refuses instances that turn out to conflict on one machine
version_added: 0.1.0
description:
  - Two inventory hosts may be two names of one machine. M(mcp_tunnels.stack.preflight) notices that
    only if Ansible connects to both in the same way; this module learns it from the machines.
  - Fails when such hosts use the same port or instance, or different releases of cloudflared.
  - Runs on the controller, without a connection.
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
attributes:
  diff_mode:
    support: none
    description: Nothing is ever changed.
options:
  found:
    description: The fact C(machine) of M(mcp_tunnels.stack.host_check) by inventory host.
    type: dict
    required: true
  group:
    description: Inventory group of the replicas.
    type: str
    default: mcp_tunnel
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: Compare the hosts that are one machine
  mcp_tunnels.stack.machines:
    found:
      replica1: 0f3c5d1e9a7b2468
      replica1-lab: 0f3c5d1e9a7b2468
  run_once: true
"""

RETURN = r"""
problems:
  description: Everything that is wrong, with the remedy.
  type: list
  returned: failure
  elements: str
"""
