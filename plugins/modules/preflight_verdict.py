#!/usr/bin/python
# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: preflight_verdict
short_description: Refuses what the preflight has found, each problem at one host
version_added: 0.1.0
description:
  - Fails if M(mcp_tunnels.stack.preflight) has found problems in the variables of the host. A
    problem that several hosts of the play share, as one wrong variable of their group makes it, is
    told by the first of them, with the names of the others.
  - In a play with C(any_errors_fatal), a host that has nothing of its own to tell does not fail by
    itself. The play ends for it all the same.
  - Reads the results that M(mcp_tunnels.stack.preflight) has registered as C(mcp_tunnel_plan) with
    O(mcp_tunnels.stack.preflight#module:fail=false).
  - Runs on the controller, without a connection.
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
attributes:
  diff_mode:
    support: none
    description: Nothing is ever changed.
options: {}
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: Take the variables of every host
  mcp_tunnels.stack.settings:
  register: __mcp_tunnel_settings
  no_log: true

- name: Check them
  mcp_tunnels.stack.preflight:
    fail: false
  register: mcp_tunnel_plan

- name: Refuse variables with problems
  mcp_tunnels.stack.preflight_verdict:
  when: mcp_tunnel_plan.problems is defined
"""

RETURN = r"""
problems:
  description:
    - Everything that is wrong with the host's variables, one entry for each problem, with the
      remedy.
    - Of the problems that a host before it has, too, only the number.
  type: list
  returned: when there are problems
  elements: str
"""
