#!/usr/bin/python
# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: controller
short_description: Refuses a controller that cannot assemble what its hosts lack
version_added: 0.1.0
description:
  - The controller assembles the proxy's release with pip, for hosts that have no other way to get
    it. Fails before anything is changed when a host needs a release that is not in the controller's
    cache, and there is no pip for Ansible's own Python.
  - A controller whose hosts run the release already, or whose cache has it, needs no pip.
  - Runs on the controller, without a connection.
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
attributes:
  diff_mode:
    support: none
    description: Nothing is ever changed.
options:
  hosts:
    description: The facts of M(mcp_tunnels.stack.host_check) by inventory host.
    type: dict
    required: true
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: See whether the controller can assemble what the hosts lack
  mcp_tunnels.stack.controller:
    hosts:
      replica1: {architecture: x86_64, python_version: 3.11.2, releases: {}}
  run_once: true
"""

RETURN = r"""
problems:
  description: Everything that is wrong, with the remedy.
  type: list
  returned: failure
  elements: str
"""
