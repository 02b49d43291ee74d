#!/usr/bin/python
# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: awx_project
short_description: Writes the project of AWX or Tower that runs the playbooks of this collection
version_added: 0.1.0
description:
  - A job template of AWX names a file of its project. This module writes one file for each playbook
    of the collection, which imports it, an C(ansible.cfg), and a C(known_hosts) if there is none.
  - A file begins with a line that says who wrote it. One without that line is not replaced.
  - Runs on the controller.
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
options:
  dest:
    description:
      - Absolute path of the directory, such as a clone of the project's repository. It is made if
        its parent is there.
    type: str
    required: true
  requirements:
    description:
      - Whether C(collections/requirements.yml) asks for this version of the collection. Without it,
        jobs use the one in their execution environment.
      - AWX prefers the collections of a project to those of an execution environment. Releases that
        an environment brings along fit one version of the collection only.
    type: bool
    default: false
  replace:
    description: Whether files that this module has not written are replaced, too.
    type: bool
    default: false
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: Write the project
  mcp_tunnels.stack.awx_project:
    dest: /home/me/mcp-tunnel-project
"""

RETURN = r"""
msg:
  description: The files that were written, and the next step.
  type: list
  elements: str
  returned: success
problems:
  description: Everything that is in the way, with the remedy.
  type: list
  elements: str
  returned: failure
"""
