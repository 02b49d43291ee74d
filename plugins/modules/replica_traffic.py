#!/usr/bin/python
# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: replica_traffic
short_description: Returns what the proxy of a replica has counted
version_added: 0.1.0
description:
  - Reads the metrics of the proxy at its admin listener, and believes them only if it is the proxy
    that answers. M(mcp_tunnels.stack.soak) compares two of these answers, and replicas.
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
attributes:
  diff_mode:
    support: none
    description: Nothing is ever changed.
options:
  instance:
    description: Name of the instance.
    type: str
    required: true
  admin_port:
    description: Loopback port of the proxy's health and metrics.
    type: int
    required: true
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: Count the traffic
  mcp_tunnels.stack.replica_traffic:
    instance: default
    admin_port: 8081
  register: traffic
"""

RETURN = r"""
traffic:
  description: The counts since the proxy began.
  returned: success
  type: dict
  contains:
    started:
      description: When it began, in seconds since the epoch.
      type: int
    handshakes:
      description: Inner TLS that came up.
      type: int
    handshake_failures:
      description: Inner TLS that did not.
      type: int
    routes:
      description: Each route, and C(-) for requests that no route answers.
      type: list
      elements: dict
      contains:
        route:
          description: Its name.
          type: str
        answered:
          description: Requests answered, without those that C(max_in_flight) refused.
          type: int
        failed:
          description: Those of them with a status of 5xx.
          type: int
        first_bytes:
          description: Requests whose response began within so many seconds, cumulative.
          type: list
          elements: dict
          contains:
            within:
              description: The bound, as the metrics write it.
              type: str
            count:
              description: The requests.
              type: int
before:
  description:
    - The counts that M(mcp_tunnels.stack.replica) has kept, of the replica when it was last good.
      Empty if there are none.
  returned: success
  type: dict
at:
  description: The time of the answer by the controller's clock, in seconds since the epoch.
  returned: success
  type: float
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import run
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.instances import check_instance
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica import traffic
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica.records import (
    TRAFFIC,
    Records,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec=dict(
            instance=dict(type="str", required=True),
            admin_port=dict(type="int", required=True),
        ),
        supports_check_mode=True,
    )
    instance = check_instance(module.params["instance"])
    run(
        module,
        lambda: {
            "changed": False,
            "traffic": traffic.look(instance, module.params["admin_port"]),
            "before": Records(instance).load(TRAFFIC),
        },
    )


if __name__ == "__main__":
    main()
