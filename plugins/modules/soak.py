#!/usr/bin/python
# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: soak
short_description: Waits while a canary serves, and judges whether it does worse than others
version_added: 0.1.0
description:
  - Four things are compared, each as a part of a whole. Requests of a route that were answered with
    5xx, requests that no route answers, inner TLS that did not come up, and slow first bytes. Those
    are slower than nearly all (95 %) of the others' on the same route.
  - The canary does worse if one of them is at least twice as frequent as at the others, and chance
    alone would make it so in less than one of a thousand cases. This is the exact conditional test
    for tables with one stratum for each route; with more than 1000 events, that of Mantel and
    Haenszel.
  - It is compared with the other replicas over the same time. Without any, it is compared with its
    own counts from before the change. A replica whose proxy was restarted within the time is left
    out; a canary that was restarted fails.
  - If nothing is worse, and there were fewer than 100 requests on either side, the traffic is not
    enough to judge. That is a warning, and no failure.
  - Runs on the controller, without a connection.
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
attributes:
  diff_mode:
    support: none
    description: Nothing is ever changed.
options:
  state:
    description:
      - V(waited) waits until O(seconds) have gone by since O(since), but not longer than 300
        seconds.
      - V(judged) compares, and fails if the canary does worse.
    type: str
    choices: [waited, judged]
    required: true
  seconds:
    description: How long the soak takes, for V(waited).
    type: float
    default: 0
  since:
    description: When it began, in seconds since the epoch.
    type: float
    default: 0
  canary:
    description: The canary, for V(judged).
    type: str
    default: ""
  first:
    description:
      - The results of M(mcp_tunnels.stack.replica_traffic) at the beginning, each with its C(item),
        the name of the host. That of the canary is among them.
    type: list
    elements: dict
    default: []
  last:
    description: Those at the end.
    type: list
    elements: dict
    default: []
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: Compare the canary with the others
  mcp_tunnels.stack.soak:
    state: judged
    canary: "{{ inventory_hostname }}"
    first: "{{ counted.results }}"
    last: "{{ counted_again.results }}"
"""

RETURN = r"""
judged:
  description: Whether there was enough traffic to judge the canary.
  returned: O(state=judged)
  type: bool
problems:
  description: In what the canary does worse, each with the counts.
  returned: O(state=judged) and it does
  type: list
  elements: str
  sample: ["requests answered with 5xx: 15 of 300 (5.0%) here, 0 of 290 (0.0%) at replica2"]
"""
