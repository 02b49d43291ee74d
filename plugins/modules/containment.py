#!/usr/bin/python
# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: containment
short_description: Shuts the firewall of a host that was broken into
version_added: 0.1.0
description:
  - Keeps the table C(inet mcp_tunnel_containment) of a host and the file
    C(/etc/mcp-tunnel-containment.nft), from which a unit loads it at boot. Nothing else of the
    ruleset is touched.
  - The kernel is compared with the rules each time, so a table that was flushed comes back.
  - The port of the present SSH session stays open, whatever it is, and also for the address that it
    comes from.
  - The host is not kept from undoing this. Who broke in may be root.
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
attributes:
  diff_mode:
    support: none
    description: The rules are the same on each host.
options:
  rules:
    description:
      - The rules, in nft's language. C($ssh) in them stands for the set of the SSH ports. With
        O(ssh_sources), C($ssh_ip) and C($ssh_ip6) stand for the sets of their IPv4 and IPv6
        networks.
    type: str
    required: true
  ssh_ports:
    description: The ports at which the operator reaches the host.
    type: list
    elements: int
    required: true
  ssh_sources:
    description: The networks from which the operator reaches the host. Without them, from anywhere.
    type: list
    elements: str
    default: []
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: Shut the firewall
  mcp_tunnels.stack.containment:
    rules: "{{ lookup('mcp_tunnels.stack.template', 'containment.nft.j2') }}"
    ssh_ports: [22]
"""

RETURN = r"""
actions:
  description: The actions that were taken, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: ["rules loaded"]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import run
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall import containment
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import session


def main() -> None:
    module = AnsibleModule(
        argument_spec=dict(
            rules=dict(type="str", required=True),
            ssh_ports=dict(type="list", elements="int", required=True),
            ssh_sources=dict(type="list", elements="str", default=[]),
        ),
        supports_check_mode=True,
    )
    given, open_ones = module.params, session.connections()
    ports = {*given["ssh_ports"], *(each.port for each in open_ones)}
    # The variables may not be what is in force, and the operator is here.
    sources = {*given["ssh_sources"], *(each.peer for each in open_ones)}
    way_in = containment.WayIn(ports, sources if given["ssh_sources"] else set())
    run(module, lambda: containment.ensure(given["rules"], way_in, module.check_mode))


if __name__ == "__main__":
    main()
