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
  - Values that are not supplied come from the state directory, so the token is needed only on
    the first run.
  - With O(provisioning=wif) the token comes from the Tunnels API instead. One that was rotated
    elsewhere is noticed and replaced. The ID and the domain are those that
    M(mcp_tunnels.stack.tunnel) has stored.
  - The token, and anything derived from its secret, is never returned.
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
  - mcp_tunnels.stack.state_directory
  - mcp_tunnels.stack.provisioning
  - mcp_tunnels.stack.api
  - mcp_tunnels.stack.identity
options:
  token:
    description: The tunnel token, as the Console shows it. A new token of the same tunnel replaces
      the stored one. For O(provisioning=manual) only.
    type: str
  tunnel_id:
    description: ID of the tunnel, either V(tnl_...) or the UUID that the token carries.
    type: str
  domain:
    description: Domain of the tunnel, for example V(abcd1234.tunnel.anthropic.com).
    type: str
  replace:
    description:
      - Whether a token, ID or domain of another tunnel may replace the stored one.
      - Without it such a difference is an error, as it is most often a token pasted into the wrong
        inventory.
      - For O(provisioning=manual) only.
    type: bool
    default: false
  token_version:
    description:
      - Any text that names the wanted token, for O(provisioning=wif), kept as C(token-version).
      - When it differs from the kept version, the token is rotated, once, even if the run is killed
        or an answer is lost. Unchanged or left out, it never rotates; nor does the first token.
      - After a rotation live connections go on, and new ones need the new token.
    type: str
  rotate_reason:
    description:
      - Why the token is rotated; the vendor's audit log records it. By default it says which
        version follows which.
    type: str
  encryption:
    description:
      - How the token is on the disk, see
        O(mcp_tunnels.stack.file_set#module:entries[].encryption). V(auto) is V(host) where systemd
        can encrypt, and V(none) elsewhere.
      - Without it, the token stays as it is; a new one is in clear.
    type: str
    choices: [none, host, tpm2, auto]
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

- name: Fetch the token by programmatic access, and rotate it
  mcp_tunnels.stack.tunnel_token:
    path: /var/lib/mcp-tunnel/default
    provisioning: wif
    token_version: "2"
    rotate_reason: Quarterly rotation
    federation_rule_id: fdrl_01AbCdEf
    organization_id: 6f5b1c0e-5f0a-4c57-9d9e-2f0a7e1f4b2c
    identity_source: file
    identity_file: /run/identity-token

- name: Read it for the replicas
  mcp_tunnels.stack.stored_token:
    path: "{{ tunnel.token_file }}"
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
already_stored:
  description: Whether all that is wanted had been stored before this call.
  returned: success and O(provisioning=manual)
  type: bool
  sample: true
token_version:
  description: The version that is kept, or empty.
  returned: success and O(provisioning=wif)
  type: str
  sample: "2"
rotated:
  description: Whether the token was rotated, or would be; by this run or an interrupted one.
  returned: success and O(provisioning=wif)
  type: bool
  sample: true
rotate_reason:
  description: The reason that was given to the API, or empty.
  returned: success and O(provisioning=wif)
  type: str
  sample: Quarterly rotation
repaired:
  description: Whether the stored token was another one than the tunnel's.
  returned: success and O(provisioning=wif)
  type: bool
  sample: false
"""

from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.options import (
    API_SPEC,
    api_client,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import at_rest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import run
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.quiet_module import QuietModule
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision.provisioning import (
    PROVISIONING_SPEC,
    refuse_options,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision.token_fetch import (
    FetchRequest,
    ensure_fetched_token,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision.token_store import (
    TokenRequest,
    ensure_token,
)

MANUAL = ("token", "replace")
WIF = ("token_version", "rotate_reason")


def main() -> None:
    module = QuietModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "token": {"type": "str", "no_log": True},
            "tunnel_id": {"type": "str"},
            "domain": {"type": "str"},
            "replace": {"type": "bool", "default": False},
            "token_version": {"type": "str", "no_log": False},
            "rotate_reason": {"type": "str"},
            "encryption": {"type": "str", "choices": list(at_rest.CHOICES)},
            **PROVISIONING_SPEC,
            **API_SPEC,
        },
        supports_check_mode=True,
    )
    run(module, lambda: ensure_state(module.params, module.check_mode))


def ensure_state(options: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Takes the token from the operator, or from the API."""
    both = {name: options[name] for name in ("path", "tunnel_id", "domain")}
    both["encryption"] = at_rest.resolve(options["encryption"]) if options["encryption"] else ""
    if options["provisioning"] == "manual":
        refuse_options(options, WIF)
        request = TokenRequest(**both, **{name: options[name] for name in MANUAL})
        return ensure_token(request, check_mode)
    refuse_options(options, MANUAL)
    fetch = FetchRequest(**both, **{name: options[name] for name in WIF})
    return ensure_fetched_token(fetch, api_client(options), check_mode)


if __name__ == "__main__":
    main()
