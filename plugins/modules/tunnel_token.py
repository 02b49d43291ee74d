#!/usr/bin/python
# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: tunnel_token
short_description: Keeps the token and the identity of an MCP tunnel
version_added: 0.1.0
description:
  - Checks a tunnel token that the operator supplies and stores it in the state directory, together
    with the tunnel's ID and domain, as C(tunnel-token), C(tunnel-id) and C(tunnel-domain) (mode
    V(0600)).
  - What is not supplied is taken from the state directory, so the token is needed on the first run
    only.
  - The token, and anything derived from its secret, is never returned.
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
  - mcp_tunnels.stack.state_directory
options:
  token:
    description: The tunnel token, as the Console shows it. A new token of the same tunnel replaces
      the stored one.
    type: str
  tunnel_id:
    description: ID of the tunnel, either V(tnl_...) or the UUID that the token carries.
    type: str
  domain:
    description: Domain of the tunnel, for example V(abcd1234.tunnel.anthropic.com).
    type: str
  replace:
    description:
      - Whether a token, ID or domain of another tunnel may replace what is stored.
      - Without it such a difference is an error, as it is most often a token pasted into the wrong
        inventory.
    type: bool
    default: false
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: Store the token of the tunnel
  mcp_tunnels.stack.tunnel_token:
    path: /var/lib/mcp-tunnel/default
    token: "{{ vault_mcp_tunnel_token }}"
    domain: abcd1234.tunnel.anthropic.com
  register: tunnel

- name: Read it for the replicas
  ansible.builtin.slurp:
    src: "{{ tunnel.token_file }}"
  register: token
  no_log: true
"""

RETURN = r"""
tunnel_uuid:
  description: UUID of the tunnel that the token belongs to.
  returned: success
  type: str
  sample: 6f5b1c0e-5f0a-4c57-9d9e-2f0a7e1f4b2c
tunnel_id:
  description: ID of the tunnel as it was given, or empty.
  returned: success
  type: str
  sample: tnl_01ABCDEF
domain:
  description: Domain of the tunnel.
  returned: success
  type: str
  sample: abcd1234.tunnel.anthropic.com
token_file:
  description: File that holds the token on this host.
  returned: success
  type: str
  sample: /var/lib/mcp-tunnel/default/tunnel-token
"""

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.errors import run
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.quiet_module import QuietModule
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.token_store import (
    TokenRequest,
    settle_token,
)


def main() -> None:
    module = QuietModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "provisioning": {"type": "str", "choices": ["manual"], "default": "manual"},
            "token": {"type": "str", "no_log": True},
            "tunnel_id": {"type": "str"},
            "domain": {"type": "str"},
            "replace": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    options = dict(module.params)
    del options["provisioning"]
    run(module, lambda: settle_token(TokenRequest(**options), check_mode=module.check_mode))


if __name__ == "__main__":
    main()
