#!/usr/bin/python
# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: firewall_info
short_description: Shows who may talk to what on a replica, and the packets that were refused
version_added: 0.1.0
description:
  - Reads the table C(inet mcp_tunnel) from the kernel, not from the variables behind it,
    with its counters.
  - Says whether it is the table loaded last, whether it will be loaded at the next boot, and
    whether every name server in C(/etc/resolv.conf) may be asked.
  - Says whether this kernel enforces C(IPAddressDeny=), which the units have as well. That is tried
    with a transient unit. A setting that is not enforced is never reported as fine.
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
attributes:
  diff_mode:
    support: none
    description: Nothing is ever changed.
options:
  instance:
    description: Name of the instance. Rules of the host's other instances are left out.
    type: str
    required: true
  deploying:
    description:
      - Whether M(mcp_tunnels.stack.firewall) has loaded rules earlier in the same run. What was
        refused is then counted from the run before.
    type: bool
    default: false
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: Who may talk to what
  mcp_tunnels.stack.firewall_info:
    instance: default
  register: firewall
"""

RETURN = r"""
healthy:
  description: Whether the firewall is as it was deployed.
  returned: always
  type: bool
  sample: true
msg:
  description: The problems, each with its remedy.
  returned: when RV(healthy) is false
  type: str
findings:
  description: One entry for each thing that was looked at.
  returned: always
  type: list
  elements: dict
  contains:
    object:
      description: The object that was checked.
      type: str
    state:
      description: V(ok), V(FAILED), V(not proven), or V(notice) for something worth a look.
      type: str
    detail:
      description: The observation.
      type: str
    remedy:
      description: The remedy if it failed.
      type: str
rows:
  description: One entry for each counter with a rule.
  returned: always
  type: list
  elements: dict
  contains:
    counter:
      description: Its name in the table.
      type: str
    who:
      description: Whose packets.
      type: str
    verdict:
      description: V(allowed), V(refused), or in audit mode V(counted).
      type: str
    what:
      description: Which packets.
      type: str
    peers:
      description: Addresses and ports of the other side.
      type: list
      elements: str
    packets:
      description: How many.
      type: int
    bytes:
      description: Their size.
      type: int
    since:
      description: How many of the packets came since the last deployment.
      type: int
table:
  description: Findings and rows as lines for people.
  returned: always
  type: list
  elements: str
  sample: ["mcp-proxy  refused  cloud metadata  0  0  169.254.169.254"]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import run
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.instances import check_instance
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall.report import report
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall.state import Firewall


def main() -> None:
    module = AnsibleModule(
        argument_spec=dict(
            instance=dict(type="str", required=True),
            deploying=dict(type="bool", default=False),
        ),
        supports_check_mode=True,
    )
    params = module.params

    def look() -> dict[str, Any]:
        return report(Firewall(), check_instance(params["instance"]), params["deploying"])

    run(module, look)


if __name__ == "__main__":
    main()
