#!/usr/bin/python
# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: tunnel_ca
short_description: Keeps the certificate authority of an MCP tunnel
version_added: 0.1.0
description:
  - Makes a certificate authority (CA) that a tunnel accepts, or checks and stores one that the
    operator brings.
  - The CA is kept in the state directory as C(ca.crt) and C(ca.key) (both mode V(0600)). The
    private key is made where it is stored and never leaves the host.
  - A stored CA is checked on every run against all requirements of the tunnel service.
  - A stored key or certificate is never replaced unless O(regenerate=always).
  - A run that was interrupted half-way is completed by the next one.
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
  - mcp_tunnels.stack.cryptography
  - mcp_tunnels.stack.state_directory
options:
  certificate:
    description:
      - CA certificate (PEM) that the operator brings. Without it a CA is made.
      - "It must be one certificate of at most 8 kB without private key, with critical
        BasicConstraints C(CA:TRUE), a SubjectKeyIdentifier and KeyUsage C(keyCertSign), currently
        valid, with an RSA key of at least 2048 bits or an ECDSA key on P-256 or stronger, signed
        with SHA-256 or stronger."
    type: str
  private_key:
    description:
      - Unencrypted private key (PEM) of O(certificate).
      - Without it no server certificate can be signed on the state host, so the operator brings
        these as well.
    type: str
  common_name:
    description: Common name of a CA that is made, at most 64 characters.
    type: str
    default: MCP tunnel CA
  duration:
    description: Lifetime of a CA that is made, as hours and minutes (V(43800h)) or days (V(1825d)).
    type: str
    default: 43800h
  regenerate:
    description:
      - With V(never) a stored CA stays what it is; bringing a different one is an error.
      - With V(always) the stored CA is replaced, by O(certificate) when given and else by a new one
        on each run. Servers are trusted again only after the new CA is registered and their
        certificates are signed anew.
    type: str
    choices: [never, always]
    default: never
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: Make the CA of the tunnel, once
  mcp_tunnels.stack.tunnel_ca:
    path: /var/lib/mcp-tunnel/default
  register: ca

- name: Say what to register
  ansible.builtin.debug:
    msg: "{{ ca.registration }}"

- name: Use the company's CA
  mcp_tunnels.stack.tunnel_ca:
    path: /var/lib/mcp-tunnel/default
    certificate: "{{ lookup('ansible.builtin.file', 'tunnel-ca.crt') }}"
    private_key: "{{ vault_tunnel_ca_key }}"
"""

RETURN = r"""
certificate:
  description: CA certificate (PEM). Empty in check mode when the CA would be made.
  returned: success
  type: str
  sample: "-----BEGIN CERTIFICATE-----\n..."
fingerprint:
  description: Lower-case hexadecimal SHA-256 of the certificate's DER form, as the Tunnels API
    shows it.
  returned: success
  type: str
  sample: 5f1c8fb4c2e5a1c1b7a3a94a5f9d2f0bb3b1d7c7d2f7a6c4f9c6d1a5e8b7c3d2
subject:
  description: Subject of the certificate.
  returned: success
  type: str
  sample: CN=MCP tunnel CA
not_before:
  description: Start of validity, UTC.
  returned: success
  type: str
  sample: "2026-11-01T12:00:00Z"
not_after:
  description: End of validity, UTC.
  returned: success
  type: str
  sample: "2031-10-31T12:00:00Z"
private_key_stored:
  description: Whether server certificates can be signed on this host.
  returned: success
  type: bool
  sample: true
registration:
  description: What the operator has to register in the Console, and where.
  returned: success
  type: str
  sample: "Register the certificate in /var/lib/mcp-tunnel/default/ca.crt (SHA-256 fingerprint
    5f1c...) ..."
"""

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.ca_store import CaRequest, settle_ca
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.errors import run
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.quiet_module import QuietModule


def main() -> None:
    module = QuietModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "provisioning": {"type": "str", "choices": ["manual"], "default": "manual"},
            "certificate": {"type": "str"},
            "private_key": {"type": "str", "no_log": True},
            "common_name": {"type": "str", "default": "MCP tunnel CA"},
            "duration": {"type": "str", "default": "43800h"},
            "regenerate": {
                "type": "str",
                "choices": ["never", "always"],
                "default": "never",
                "no_log": False,
            },
        },
        required_by={"private_key": ("certificate",)},
        supports_check_mode=True,
    )
    options = dict(module.params)
    del options["provisioning"]
    run(module, lambda: settle_ca(CaRequest(**options), check_mode=module.check_mode))


if __name__ == "__main__":
    main()
