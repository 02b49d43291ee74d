#!/usr/bin/python
# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: remaining
short_description: Concludes which hosts and tunnels remain in a run
version_added: 0.1.0
description:
  - A tunnel stops with its first replica that fails, or that cannot be reached any more. The other
    tunnels go on. Hosts that M(mcp_tunnels.stack.reached) has left out do not count.
  - A host of the group C(__mcp_tunnel_failed) has failed as well. It takes part in what sums up the
    run, and fails at the end.
  - A condition in a template would look at all hosts of the play for each of them. This module
    looks once, so that a run takes as long for each of a thousand hosts as for each of ten.
  - Runs on the controller, without a connection. The result is registered as
    C(__mcp_tunnel_remaining). Use C(run_once).
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
attributes:
  diff_mode:
    support: none
    description: Nothing is ever changed.
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: See which tunnels go on
  mcp_tunnels.stack.remaining:
  register: __mcp_tunnel_remaining
  run_once: true

- name: End here if the tunnel has stopped
  ansible.builtin.meta: end_host
  when: inventory_hostname in __mcp_tunnel_remaining.stopped
"""

RETURN = r"""
stopped:
  description: Hosts that take part, and whose tunnel has stopped.
  returned: success
  type: list
  elements: str
  sample: [replica3]
none:
  description: Whether the tunnels of all hosts have stopped.
  returned: success
  type: bool
firsts:
  description: The first replica of each tunnel that is in the current batch of the play.
  returned: success
  type: list
  elements: str
  sample: [replica1, replica4]
working:
  description: The same without the hosts that have failed.
  returned: success
  type: list
  elements: str
  sample: [replica2, replica4]
"""
