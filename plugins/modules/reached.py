#!/usr/bin/python
# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: reached
short_description: Concludes which hosts and tunnels a run goes on with
version_added: 0.1.0
description:
  - Reads what M(mcp_tunnels.stack.host_check) has registered for each host as C(__mcp_tunnel_host).
  - Leaves out hosts that could not be reached, as long as C(mcp_tunnel_min_available) replicas of
    their tunnel remain. Nothing has been changed by then. A tunnel without its state host stops. So
    does one whose credentials are to be changed and that misses a replica, also one that only other
    replicas remember.
  - Says which host is the state host. It is C(mcp_tunnel_state_host), or the one that the replicas
    remember, or on a first deployment the first of them by name.
  - Where no replica of the run knows another one as its state host, it goes by those that take no
    part as well, which the playbook has asked (C(__mcp_tunnel_beside)). New replicas are refused
    if such a one could not be asked and no other knows the state host.
  - Two inventory hosts may be two names of one machine. M(mcp_tunnels.stack.preflight) notices that
    only if Ansible connects to both in the same way; this module learns it from the machines. It
    fails when such hosts use the same port or instance, or different releases of cloudflared.
  - Runs on the controller, without a connection. The result is registered as
    C(__mcp_tunnel_reached). Use C(run_once).
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
attributes:
  diff_mode:
    support: none
    description: Nothing is ever changed.
options:
  group:
    description: Inventory group of the replicas.
    type: str
    default: mcp_tunnel
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: See whom the run goes on with
  mcp_tunnels.stack.reached:
  register: __mcp_tunnel_reached
  run_once: true
"""

RETURN = r"""
left_out:
  description: Hosts that could not be reached, and are not needed.
  returned: success
  type: list
  elements: str
  sample: [replica7]
stopped:
  description: Instances that cannot go on, with the reason of each.
  returned: success
  type: dict
  sample: {default: "replica1: could not be reached, and replica1 is the state host."}
plans:
  description:
    - Instances whose plan changes. Another C(leader) stands for one whose first is left out.
      The C(state_host) is that which the replicas remember. Another one is the canary, where the
      first is left out or drained.
  returned: success
  type: dict
  sample: {second: {leader: replica4, state_host: replica5}}
former:
  description: Instances whose replicas remember another state host than that of this run.
  returned: success
  type: dict
  sample: {third: replica7}
marks:
  description:
    - The marks of hosts that were broken into, which a replica remembers and goes on to remember. A
      run that gives such a host credentials, or asks it for some, is stopped.
  returned: success
  type: dict
back:
  description:
    - The hosts of an instance that a replica remembers as broken into, that C(mcp_tunnel_forget)
      names, and whose names other machines have now. Their marks are not remembered any more.
  returned: success
  type: dict
  sample: {default: [replica2]}
problems:
  description: Everything that is wrong between hosts that are one machine, with the remedy.
  type: list
  returned: failure
  elements: str
"""
