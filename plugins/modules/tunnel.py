#!/usr/bin/python
# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: tunnel
short_description: Attaches a state directory to an MCP tunnel
version_added: 0.1.0
description:
  - Attaches the state directory of an instance to a tunnel, by ID or by display name, creates the
    tunnel when there is none, or archives it.
  - The tunnel's ID and domain are kept in the state directory as C(tunnel-id) and C(tunnel-domain)
    (mode V(0600)). Once they are, the module needs neither ID nor name.
  - A tunnel is never created twice. The module records its intention first; after a lost
    answer or a killed run, it looks for the tunnel that was made and uses it.
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
  - mcp_tunnels.stack.state_directory
  - mcp_tunnels.stack.api
  - mcp_tunnels.stack.identity
options:
  state:
    description:
      - V(present) attaches or creates.
      - V(archived) archives the tunnel permanently, with its certificates and its token. The state
        directory stays.
    type: str
    choices: [present, archived]
    default: present
  tunnel_id:
    description: ID of the tunnel, V(tnl_...). It must be the stored one, if there is one.
    type: str
  display_name:
    description:
      - Name of the tunnel, of at most 255 characters. If an ID is given or stored, it must be the
        name of that tunnel.
      - Without an ID, the module attaches to the only active tunnel of that name, or creates one
        if there is none.
      - A tunnel that is created without a name gets a unique one.
    type: str
  domain:
    description:
      - Domain of the tunnel. It has to be that of the tunnel when an ID is given or stored. Without
        ID, the tunnel with this domain is attached.
      - A tunnel is never created where a domain is given or stored, because it gets one of its own.
    type: str
  create:
    description: Whether a tunnel may be created.
    type: bool
    default: true
  replace:
    description: Whether O(tunnel_id) may be another one than the stored one. The stored token goes.
    type: bool
    default: false
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: Attach to the tunnel of this name, or create it
  mcp_tunnels.stack.tunnel:
    path: /var/lib/mcp-tunnel/default
    display_name: production
    federation_rule_id: fdrl_01AbCdEf
    organization_id: 6f5b1c0e-5f0a-4c57-9d9e-2f0a7e1f4b2c
    service_account_id: svac_01AbCdEf
    identity_source: gcp
  register: tunnel

- name: Archive the tunnel of this directory
  mcp_tunnels.stack.tunnel:
    path: /var/lib/mcp-tunnel/default
    state: archived
    federation_rule_id: fdrl_01AbCdEf
    organization_id: 6f5b1c0e-5f0a-4c57-9d9e-2f0a7e1f4b2c
    identity_source: file
    identity_file: /run/identity-token
"""

RETURN = r"""
tunnel_id:
  description: ID of the tunnel. Empty in check mode when it would be created.
  returned: success
  type: str
  sample: tnl_01ABCDEF
domain:
  description: Domain of the tunnel. Empty in check mode when it would be created.
  returned: success
  type: str
  sample: abcd1234.tunnel.anthropic.com
display_name:
  description: Name of the tunnel.
  returned: success
  type: str
  sample: production
created_at:
  description: When it was created.
  returned: success
  type: str
  sample: "2026-11-01T12:00:00Z"
archived_at:
  description: When it was archived, or empty.
  returned: success
  type: str
  sample: ""
created:
  description: Whether this run has created it, or would.
  returned: success
  type: bool
  sample: false
"""

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.options import (
    API_SPEC,
    api_client,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import run
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.quiet_module import QuietModule
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision.tunnel_store import (
    TunnelRequest,
    archive_tunnel,
    ensure_tunnel,
)

VERBS = {"present": ensure_tunnel, "archived": archive_tunnel}


def main() -> None:
    module = QuietModule(
        argument_spec={
            "state": {"type": "str", "choices": list(VERBS), "default": "present"},
            "path": {"type": "path", "required": True},
            "tunnel_id": {"type": "str"},
            "display_name": {"type": "str"},
            "domain": {"type": "str"},
            "create": {"type": "bool", "default": True},
            "replace": {"type": "bool", "default": False},
            **API_SPEC,
        },
        supports_check_mode=True,
    )
    options = module.params
    request = TunnelRequest(
        path=options["path"],
        create=options["create"],
        replace=options["replace"],
        tunnel_id=options["tunnel_id"],
        display_name=options["display_name"],
        domain=options["domain"],
    )
    run(
        module,
        lambda: VERBS[options["state"]](request, api_client(options), module.check_mode),
    )


if __name__ == "__main__":
    main()
