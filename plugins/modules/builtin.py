#!/usr/bin/python
# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: builtin
short_description: Runs a module of ansible-core, and checks the answer
version_added: 0.1.0
description:
  - Runs one of a few modules of ansible-core on a host. Of the answer, it hands on whether
    something has changed or failed, and a message.
  - The host may answer anything. Facts in the answer of any other module become variables of the
    host, also those that say how and from where the controller connects. Here they are refused.
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
attributes:
  check_mode:
    support: full
    description: As the module that is run.
  diff_mode:
    support: full
    description: As the module that is run.
options:
  module:
    description: The module.
    type: str
    required: true
    choices:
      - ansible.builtin.apt
      - ansible.builtin.command
      - ansible.builtin.dnf
      - ansible.builtin.systemd_service
      - ansible.builtin.user
  arguments:
    description: The arguments of the module.
    type: dict
    required: true
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: Let systemd read its units again
  mcp_tunnels.stack.builtin:
    module: ansible.builtin.systemd_service
    arguments: {daemon_reload: true}
"""

RETURN = r""" # """
