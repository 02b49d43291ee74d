#!/usr/bin/python
# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: awx_objects
short_description: Makes objects of AWX or Tower from lists in the form of infra.aap_configuration
version_added: 0.1.0
description:
  - Makes the objects with the modules of C(awx.awx) or C(ansible.controller), each after those that
    it names. The first one that AWX refuses ends the task.
  - Before that, all objects are compared with the documented options of these modules. One unknown
    option, a credential of a custom type without its secret, or a workflow whose nodes lead
    nowhere, and nothing is changed.
  - In check mode, an object that names one which would be made first counts as changed.
  - Runs on the controller. The role P(mcp_tunnels.stack.awx#role) has the objects of this
    collection.
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
attributes:
  diff_mode:
    support: none
    description: AWX does not tell the differences.
options:
  collection:
    description: The collection that has the modules.
    type: str
    default: awx.awx
  connection:
    description:
      - Options with which these modules reach AWX, such as C(controller_host) and
        C(controller_oauthtoken).
      - Without them, the modules take their environment variables or files.
    type: dict
    default: {}
  objects:
    description:
      - Lists of objects, by the names that C(infra.aap_configuration) gives them, such as
        C(controller_projects). The keys of an object are the options of its module.
      - The nodes of a workflow are in C(simplified_workflow_nodes).
    type: dict
    required: true
  own:
    description:
      - Further sets of such lists. An object with the name of an earlier one changes the options
        that it has; any other is added.
    type: list
    elements: dict
    default: []
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: Make an organization and a label of it
  mcp_tunnels.stack.awx_objects:
    connection:
      controller_host: https://awx.example.net
      controller_oauthtoken: "{{ vault_awx_token }}"
    objects:
      controller_organizations:
        - name: MCP tunnels
      controller_labels:
        - name: mcp-tunnel
          organization: MCP tunnels
"""

RETURN = r"""
msg:
  description: How many objects changed, and their names.
  type: list
  elements: str
  returned: success
  sample:
    - 1 of 2 objects changed.
    - "  controller_labels: mcp-tunnel"
objects:
  description: All objects, in the order in which they were made.
  type: list
  elements: dict
  returned: success
  contains:
    object:
      description: List and name of the object.
      type: str
      sample: "controller_labels: mcp-tunnel"
    changed:
      description: Whether it was made or changed.
      type: bool
problems:
  description: Everything that is wrong, with the remedy.
  type: list
  elements: str
  returned: failure
"""
