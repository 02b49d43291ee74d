#!/usr/bin/python
# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: group
short_description: Compares the hosts of a group with each other
version_added: 0.1.0
description:
  - Finds the replicas of each instance, and all that does not fit between the hosts of the group.
    Replicas of one instance must agree on their tunnel. Instances on one machine need ports of
    their own.
  - Reads every host once, also those that take no part in the run. The result is registered as
    C(__mcp_tunnel_group), for M(mcp_tunnels.stack.preflight). Use C(run_once).
  - Lays out the waves of the roll-out. A wave has C(mcp_tunnel_batch) replicas of every tunnel.
    Canaries (C(mcp_tunnel_canary), and with C(mcp_tunnel_soak) the first replica) go first.
  - Warns of more replicas of a tunnel, or more tunnels, than the service allows.
  - Begins the report of the run, see M(mcp_tunnels.stack.summary).
  - Says whether the run is a job, in which nobody can answer a question.
  - Refuses an ansible-core that is older than the collection needs. Ansible itself would only warn.
  - Refuses every host of the group whose facts, from an earlier task or a fact cache, have the name
    of a variable of this collection. Such a host would otherwise set what other hosts and the
    controller work with.
  - Runs on the controller, without a connection.
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
attributes:
  diff_mode:
    support: none
    description: Nothing is ever changed.
options:
  duty:
    description:
      - Purpose of the run, as for M(mcp_tunnels.stack.preflight), for the report.
      - With V(drain), C(mcp_tunnel_drain) must name replicas of the run, and with V(breach),
        C(mcp_tunnel_breached) some of a tunnel's, but not all.
    type: str
    choices:
      - backup
      - breach
      - deploy
      - drain
      - reboot
      - recover
      - renew_cert
      - restore
      - rotate_ca
      - rotate_token
      - support
      - teardown
      - undrain
      - verify
    default: deploy
  group:
    description: Inventory group of the replicas.
    type: str
    default: mcp_tunnel
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: Take the variables of every host
  mcp_tunnels.stack.settings:
  register: __mcp_tunnel_settings
  no_log: true

- name: Compare the hosts of the group
  mcp_tunnels.stack.group:
  register: __mcp_tunnel_group
  run_once: true
"""

RETURN = r"""
hosts:
  description: What there is to know about each host of the play beside the others, by its name.
  returned: success
  type: dict
  contains:
    replicas:
      description: The hosts of the group with the instance of this one, itself included.
      type: list
      elements: str
    leader:
      description: The first of them that takes part in the run.
      type: str
    canaries:
      description: Those of them that take part, and are deployed first.
      type: list
      elements: str
    soak:
      description: For how many seconds at most a canary of another tunnel of the run is watched.
      type: int
    problems:
      description: What does not fit, with the remedy.
      type: list
      elements: str
at:
  description: The time, in seconds since the epoch. For all hosts, a window is looked at then.
  returned: success
  type: float
leaving:
  description:
    - The replicas that the duty V(drain) drains, as C(mcp_tunnel_drain) or the limit names them.
  returned: success
  type: list
  elements: str
  sample: [replica2]
breached:
  description:
    - The hosts that the duty V(breach) takes out, as C(mcp_tunnel_breached) names them. Empty in
      the plays that do without them.
  returned: success
  type: list
  elements: str
  sample: [replica2]
surviving:
  description: The other replicas of their tunnels.
  returned: success
  type: list
  elements: str
  sample: [replica1]
addresses:
  description:
    - The C(address) and C(port) at which other replicas reach the SSH server of each host of the
      group, and whether the address C(is_ip), and not a name.
  returned: success
  type: dict
  sample: {replica1: {address: 10.20.0.11, port: 22, is_ip: true}}
tunnels:
  description: Number of instances in the group.
  returned: success
  type: int
is_job:
  description: Whether the run is a job of AWX or Tower, or was started by ansible-runner.
  returned: success
  type: bool
unattended:
  description: The reason why nobody can answer a question of this run. Empty if somebody can.
  returned: success
  type: str
  sample: this run is a job of AWX or Tower
waves:
  description:
    - The replicas that take part, wave by wave, as C(order), and the number of hosts of each wave,
      as C(sizes). They are C(hosts) and C(serial) of a play.
  returned: success
  type: dict
  sample: {order: [a1, b1, a2, b2], sizes: [2, 2]}
"""
