#!/usr/bin/python
# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: tunnel_info
short_description: Shows MCP tunnels and their CA certificates
version_added: 0.1.0
description:
  - Returns the tunnels that the credentials can see, each with its CA certificates, as the Tunnels
    API tells of them. Nothing of it is secret.
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
  - mcp_tunnels.stack.api
  - mcp_tunnels.stack.identity
attributes:
  diff_mode:
    support: none
    description: There is nothing that could differ.
options:
  tunnel_id:
    description: ID of the only tunnel to show, V(tnl_...).
    type: str
  include_archived:
    description: Whether archived tunnels and certificates are shown, too.
    type: bool
    default: false
  query:
    description:
      - JMESPath expression that is applied to the list of RV(tunnels). Needs the Python library
        C(jmespath).
    type: str
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: Look at all tunnels
  mcp_tunnels.stack.tunnel_info:
    federation_rule_id: fdrl_01AbCdEf
    organization_id: 6f5b1c0e-5f0a-4c57-9d9e-2f0a7e1f4b2c
    identity_source: file
    identity_file: /run/identity-token
  register: info

- name: Find CA certificates that end this year
  mcp_tunnels.stack.tunnel_info:
    federation_rule_id: fdrl_01AbCdEf
    organization_id: 6f5b1c0e-5f0a-4c57-9d9e-2f0a7e1f4b2c
    identity_source: file
    identity_file: /run/identity-token
    query: "[].certificates[?expires_at < '2027'][].{tunnel: tunnel_id, ca: fingerprint}"
"""

RETURN = r"""
tunnels:
  description: Tunnels, newest first. Values that the API gives as null are empty.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: ID of the tunnel.
      type: str
      sample: tnl_01ABCDEF
    domain:
      description: Domain of the tunnel.
      type: str
      sample: abcd1234.tunnel.anthropic.com
    display_name:
      description: Name of the tunnel.
      type: str
      sample: production
    created_at:
      description: When it was created.
      type: str
      sample: "2026-11-01T12:00:00Z"
    archived_at:
      description: When it was archived, or empty.
      type: str
      sample: ""
    workspace_id:
      description: Its workspace, on the surface V(organizations); else empty.
      type: str
      sample: wrkspc_01ABCDEF
    certificates:
      description: Its CA certificates, newest first.
      type: list
      elements: dict
      contains:
        id:
          description: ID of the certificate.
          type: str
          sample: tcrt_01ABCDEF
        tunnel_id:
          description: ID of the tunnel.
          type: str
          sample: tnl_01ABCDEF
        fingerprint:
          description: Lower-case hexadecimal SHA-256 of the DER form.
          type: str
          sample: 5f1c8fb4c2e5a1c1b7a3a94a5f9d2f0bb3b1d7c7d2f7a6c4f9c6d1a5e8b7c3d2
        created_at:
          description: When it was registered.
          type: str
          sample: "2026-11-01T12:00:00Z"
        expires_at:
          description: End of its validity.
          type: str
          sample: "2031-10-31T12:00:00Z"
        archived_at:
          description: When it was archived, or empty.
          type: str
          sample: ""
result:
  description: The result of O(query) over the list.
  returned: when O(query) is given
  type: raw
  sample: []
"""

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.options import (
    API_SPEC,
    api_client,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import run
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.quiet_module import QuietModule
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision.tunnel_report import (
    compile_query,
    tunnel_report,
)


def main() -> None:
    module = QuietModule(
        argument_spec={
            "tunnel_id": {"type": "str"},
            "include_archived": {"type": "bool", "default": False},
            "query": {"type": "str"},
            **API_SPEC,
        },
        supports_check_mode=True,
    )
    options = module.params
    run(
        module,
        lambda: tunnel_report(
            query=compile_query(options["query"]),
            api=api_client(options),
            tunnel_id=options["tunnel_id"],
            include_archived=options["include_archived"],
        ),
    )


if __name__ == "__main__":
    main()
