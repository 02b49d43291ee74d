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
  - The next run completes one that was interrupted half-way.
  - With O(provisioning=wif) the stored CA is registered on the tunnel, or found to be registered.
    Both slots of the tunnel are respected; a CA that was registered elsewhere is never archived.
    A CA whose registration was archived is not registered again; O(phase=added) replaces it.
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
  - mcp_tunnels.stack.cryptography
  - mcp_tunnels.stack.state_directory
  - mcp_tunnels.stack.provisioning
  - mcp_tunnels.stack.api
  - mcp_tunnels.stack.identity
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
      - With V(never) a stored CA stays as it is; bringing a different one is an error.
      - With V(always) the stored CA is replaced on each run, by O(certificate) if given, else by a
        new one. Servers are trusted again only after the new CA is registered and their
        certificates are signed anew.
    type: str
    choices: [never, always]
    default: never
  phase:
    description:
      - Step of a rotation, for O(provisioning=wif). Each can be repeated until the next one.
      - V(current) keeps the CA as it is; a rotation that is under way stays under way.
      - V(added) makes a CA (or takes O(certificate)) as C(ca-next.*), registers it beside the old
        one and makes it C(ca.crt) and C(ca.key); the old certificate stays as C(ca-previous.crt),
        with its key, by which a copy of the state is known as genuine. Both are trusted from here
        on, and server certificates are signed by the new one.
      - V(retired) archives C(ca-previous.crt) on the tunnel, and no other, and removes the files.
        Use it when all servers present certificates of the new CA. Without rotation it changes
        nothing.
      - V(withdrawn) archives all CAs of this directory on the tunnel, and none from elsewhere. The
        files stay. Use it before they are wiped.
    type: str
    choices: [current, added, retired, withdrawn]
    default: current
  exclusive:
    description:
      - For O(provisioning=wif), whether to refuse to make the first CA of this directory for a
        tunnel that has another one already, because another state host serves it. A CA that
        another run has registered at the same time, but earlier, makes this one take its own back.
        A stored CA that was never registered is not registered either, on a tunnel that has CAs and
        none of this directory.
    type: bool
    default: false
  encryption:
    description:
      - How the secrets of the directory are on the disk, see
        O(mcp_tunnels.stack.file_set#module:entries[].encryption). V(auto) is V(host) where systemd
        can encrypt, and V(none) elsewhere.
      - All of them are brought to that form, the token among them. Without it, they stay as they
        are.
      - Keys of CAs are in the form in which the unit of this host's signer reads them, once there
        is one. M(mcp_tunnels.stack.replica) converts them when that unit has changed.
    type: str
    choices: [none, host, tpm2, auto]
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
    msg: "{{ ca.registration.splitlines() }}"

- name: Make the CA and register it by programmatic access
  mcp_tunnels.stack.tunnel_ca:
    path: /var/lib/mcp-tunnel/default
    provisioning: wif
    federation_rule_id: fdrl_01AbCdEf
    organization_id: 6f5b1c0e-5f0a-4c57-9d9e-2f0a7e1f4b2c
    identity_source: file
    identity_file: /run/identity-token

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
  description: Lines that tell the operator what to register in the Console, and where.
  returned: success
  type: str
  sample: "Register this CA certificate on the tunnel, unless it is registered already:\n    ..."
tunnel_id:
  description: ID of the tunnel. Empty in check mode when it would be made.
  returned: success and O(provisioning=wif)
  type: str
  sample: tnl_01ABCDEF
certificate_id:
  description: ID of the CA's registration. Empty in check mode when it would be registered.
  returned: success and O(provisioning=wif)
  type: str
  sample: tcrt_01ABCDEF
rotating:
  description: Whether a rotation was begun and its old CA is not retired yet.
  returned: success and O(provisioning=wif)
  type: bool
  sample: false
active:
  description: The active CA certificates of the tunnel, like C(certificates) of
    M(mcp_tunnels.stack.tunnel_info).
  returned: success and O(provisioning=wif)
  type: list
  elements: dict
  sample:
    - id: tcrt_01ABCDEF
      tunnel_id: tnl_01ABCDEF
      fingerprint: 5f1c8fb4c2e5a1c1b7a3a94a5f9d2f0bb3b1d7c7d2f7a6c4f9c6d1a5e8b7c3d2
      created_at: "2026-11-01T12:00:00Z"
      expires_at: "2031-10-31T12:00:00Z"
      archived_at: ""
"""

import os
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.options import (
    API_SPEC,
    api_client,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import at_rest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError, run
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.quiet_module import QuietModule
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import unit_secrets
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki.ca_store import (
    CaRequest,
    ensure_ca,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision.ca_provision import (
    ensure_registered_ca,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision.provisioning import (
    PROVISIONING_SPEC,
)

CA_OPTIONS = ("path", "certificate", "private_key", "common_name", "duration", "regenerate")


def main() -> None:
    module = QuietModule(
        argument_spec={
            "path": {"type": "path", "required": True},
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
            "phase": {
                "type": "str",
                "choices": ["current", "added", "retired", "withdrawn"],
                "default": "current",
            },
            "exclusive": {"type": "bool", "default": False},
            "encryption": {"type": "str", "choices": list(at_rest.CHOICES)},
            **PROVISIONING_SPEC,
            **API_SPEC,
        },
        required_by={"private_key": ("certificate",)},
        supports_check_mode=True,
    )
    run(module, lambda: ensure_state(module.params, module.check_mode))


def ensure_state(options: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Keeps the CA, and brings the secrets of its directory to the wanted form."""
    if not options["encryption"]:
        return _ensure_ca(options, "", check_mode)
    wanted = at_rest.resolve(options["encryption"])
    # The signer's unit is written later, with all else of its host, and this key is converted then.
    of_ca = unit_secrets.form_for(os.path.join(options["path"], "ca.key"), wanted)
    result = _ensure_ca(options, of_ca, check_mode)
    converted = at_rest.convert(options["path"], wanted, check_mode, {"ca.key": of_ca})
    if not converted:
        return result
    shown = {"encryption": converted}
    diff = {**result["diff"], "after": {**result["diff"]["after"], **shown}}
    return {**result, "changed": True, "diff": diff}


def _ensure_ca(options: dict[str, Any], encryption: str, check_mode: bool) -> dict[str, Any]:
    """Keeps the CA for the operator to register, or registers it."""
    request = CaRequest(**{name: options[name] for name in CA_OPTIONS}, encryption=encryption)
    if options["provisioning"] == "wif":
        api = api_client(options)
        return ensure_registered_ca(
            request, options["phase"], api, check_mode, options["exclusive"]
        )
    if options["phase"] != "current":
        raise TunnelError(
            "phase",
            f"{options['phase']} needs the Tunnels API",
            "Use provisioning=wif, or replace the CA with regenerate=always and register it",
        )
    return ensure_ca(request, check_mode)


if __name__ == "__main__":
    main()
