#!/usr/bin/python
# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: refuse
short_description: Fails with a headline and a list of problems
version_added: 0.1.0
description:
  - Fails, as M(ansible.builtin.fail) does. The message is the headline; the problems are a list,
    which every format of results shows one below the other, and once.
  - Runs on the controller, without a connection.
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
attributes:
  diff_mode:
    support: none
    description: Nothing is ever changed.
options:
  headline:
    description: One line without full stop, with the object and the problem.
    type: str
    required: true
  problems:
    description: Details of the problem, and the remedy. Empty texts are left out.
    type: list
    elements: str
    required: true
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: Say what does not work
  mcp_tunnels.stack.refuse:
    headline: "{{ inventory_hostname }} does not work"
    problems: "{{ health.msg.splitlines() }}"
  when: not health.healthy
"""

RETURN = r"""
problems:
  description: One entry for each line of O(problems).
  type: list
  returned: failure
  elements: str
"""
