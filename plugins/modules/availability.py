#!/usr/bin/python
# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: availability
short_description: Concludes whether enough replicas stay while others leave the edge
version_added: 0.1.0
description:
  - Counts the replicas of each tunnel that would stay and are known to work, and compares them with
    C(mcp_tunnel_min_available). A replica that takes no part in the run, could not be reached, does
    not work or is drained does not count.
  - Reads what M(mcp_tunnels.stack.replica_health), M(mcp_tunnels.stack.reboot) and
    M(mcp_tunnels.stack.state_host) have registered for each host as C(__mcp_tunnel_health),
    C(__mcp_tunnel_boot) and C(__provision_held), and who is to leave from
    M(mcp_tunnels.stack.group).
  - With O(reboot=true), plans the waves of a reboot. A machine that several inventory hosts name is
    rebooted once, and all its instances leave together. An instance on it that takes no part in the
    run, also one of another inventory, is a problem unless it is drained.
  - Runs on the controller, without a connection. The result is registered as
    C(__mcp_tunnel_availability). Use C(run_once).
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
attributes:
  diff_mode:
    support: none
    description: Nothing is ever changed.
options:
  reboot:
    description: Whether the hosts are to be rebooted, wave by wave. Otherwise some are drained.
    type: bool
    default: false
  group:
    description: Inventory group of the replicas.
    type: str
    default: mcp_tunnel
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: See whether enough replicas stay
  mcp_tunnels.stack.availability:
  register: __mcp_tunnel_availability
  run_once: true
"""

RETURN = r"""
problems:
  description: Why the replicas may not leave, each with the remedy. Empty if they may.
  returned: success
  type: list
  elements: str
stopped:
  description:
    - The same problems, by the instance that they are about. None of its replicas may leave; those
      of other instances may.
  returned: success
  type: dict
going_on:
  description: The instances that take part and have no problem.
  returned: success
  type: list
  elements: str
  sample: [default]
waves:
  description:
    - The hosts that leave, wave by wave, as C(order), and the number of hosts of each wave, as
      C(sizes). They are C(hosts) and C(serial) of a play.
  returned: success
  type: dict
  sample: {order: [a1, b1, a2, b2], sizes: [2, 2]}
first:
  description: One inventory host of each machine, which reboots it for the others.
  returned: success
  type: list
  elements: str
machines:
  description: Each inventory host, with all that are the same machine.
  returned: success
  type: dict
  sample: {a1: [a1, a2], a2: [a1, a2]}
"""
